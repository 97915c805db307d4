"""The `telomere` command: every command's name, options and help, and nothing of what they do.

Owns the command line. Each command imports its body when it is called, so that an install with the
`edge` extra alone never touches the collector, and `--help` is quick. Bodies return an exit code;
failures become sentences in `answers`. Commands that are not built yet say so with exit 2.
"""

from __future__ import annotations

import datetime as dt
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from deploy import answers, logs
from deploy.batches.commands import batch
from deploy.detecting import commands as detecting
from deploy.import_commands import bring
from deploy.sim import sim

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
edge = typer.Typer(no_args_is_help=True, help="The sensing half of a gateway.")
collector = typer.Typer(no_args_is_help=True, help="The central side.")
broker = typer.Typer(no_args_is_help=True, help="Access rules and certificates of the MQTT broker.")
_NAMED = ((edge, "edge"), (collector, "collector"), (broker, "broker"), (batch, "batch"), (bring, "import"))
for _group, _name in _NAMED:
    app.add_typer(_group, name=_name)
app.command()(sim)

HISTORY_S_MIN: Final = 3600.0
"""The story's times are fractions of the history; below an hour they would run into each other."""
_SPAN: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(s|m|h|d)", re.ASCII)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}

Config = Annotated[Path, typer.Option("--config", help="The TOML file.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


class Kind(StrEnum):
    """Events that a person writes at the gateway."""

    SCAN = "scan"
    NOTE = "note"


class Act(StrEnum):
    """What a scan did."""

    PUT_IN = "put_in"
    TAKE_OUT = "take_out"
    MOVE = "move"
    RECEIVE = "receive"
    HAND_OVER = "hand_over"


def main() -> None:
    """The entry point of the `telomere` script."""
    with answers.presented():
        app(prog_name="telomere")


@app.callback()
def _before() -> None:
    """Every degree and every minute, linked to the right batch."""
    logs.configure()


def _span_s(text: str) -> float:
    """Seconds of `24h`, `90m`, `1.5d`, `600s` or a bare number of seconds."""
    match = _SPAN.fullmatch(text if text[-1:].isalpha() else f"{text}s")
    if match is None:
        msg = f"{text!r} is not a span of time such as 24h, 90m or 600s"
        raise typer.BadParameter(msg)
    return float(match[1]) * _SECONDS[match[2]]


def _history_s(text: str) -> float:
    seconds = _span_s(text)
    if seconds < HISTORY_S_MIN:
        msg = f"{text} is too short for the story: at least 1h"
        raise typer.BadParameter(msg)
    return seconds


def _instant(text: str) -> dt.datetime:
    """An ISO 8601 time; without an offset it is local time of this machine, as a person reads the clock."""
    try:
        time = dt.datetime.fromisoformat(text)
    except ValueError:
        msg = f"{text!r} is not an ISO 8601 time such as 2026-03-01T14:05:00+01:00"
        raise typer.BadParameter(msg) from None
    return time.astimezone(dt.UTC)


@app.command()
def demo(
    *,
    folder: Annotated[
        Path | None, typer.Option("--dir", help="Where the site is kept (default: a new folder).")
    ] = None,
    http: Annotated[str, typer.Option(help="Address and port of the page.")] = "127.0.0.1:8080",
    history_s: Annotated[
        float, typer.Option("--history", parser=_history_s, metavar="SPAN", help="Backlog at the start.")
    ] = "24h",  # type: ignore[assignment]
    replay: Annotated[
        list[str] | None,
        typer.Option(
            help="Play a log as an MQTT sensor: FILE[:time=COL,unit=s|ms|iso,origin=T,zone=Z,points=A+B]."
        ),
    ] = None,
    exit_after_s: Annotated[
        float | None, typer.Option("--exit-after", parser=_span_s, metavar="S", help="Stop S after ready.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Where the report is written at the end.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One line {url, token, user, password} when ready.")
    ] = False,
    tell: Annotated[bool, typer.Option("--story", help="Tell the story by its answers, then end.")] = False,
) -> None:
    """A whole site on this machine: broker, simulated sensors, two gateways, collector, page."""
    from deploy import demo as body

    code = body.run(
        folder=folder,
        http=http,
        history_s=history_s,
        replay=replay or [],
        exit_after_s=exit_after_s,
        report=report,
        json=as_json,
        tell=tell,
    )
    raise typer.Exit(code)


@edge.command("check")
def edge_check(*, config: Config, as_json: Json = False) -> None:
    """Validate the configuration and report every fault at once."""
    from deploy import cli_edge

    raise typer.Exit(cli_edge.check(config, json=as_json))


@edge.command("plan")
def edge_plan(*, config: Config, as_json: Json = False) -> None:
    """Print the planned Modbus requests and how busy each bus will be."""
    from deploy import cli_edge

    raise typer.Exit(cli_edge.plan(config, json=as_json))


@edge.command("probe")
def edge_probe(
    *,
    config: Config,
    listen_s: Annotated[float, typer.Option("--listen", min=0.1, max=3600, help="Seconds for MQTT.")] = 10.0,
    guess: Annotated[bool, typer.Option("--guess", help="Try byte orders and address bases.")] = False,
    as_json: Json = False,
) -> None:
    """Read every point once and print it; nothing is stored. Exit 3 when one gave no reading."""
    from deploy import cli_edge

    if guess:
        raise typer.Exit(cli_edge.guess(config, json=as_json))
    raise typer.Exit(cli_edge.probe(config, listen_s=listen_s, json=as_json))


@edge.command("run")
def edge_run(*, config: Config) -> None:
    """Run the agent until Ctrl-C or SIGTERM; an absent broker never ends it."""
    from deploy import cli_edge

    raise typer.Exit(cli_edge.run(config))


@edge.command("event")
def edge_event(
    *,
    config: Config,
    kind: Annotated[Kind, typer.Option(help="What is appended.")] = Kind.SCAN,
    act: Annotated[Act | None, typer.Option(help="What the scan did.")] = None,
    batch_id: Annotated[str, typer.Option("--batch", help="The batch as scanned.")] = "",
    equipment: Annotated[str, typer.Option(help="The equipment as scanned, FRZ-01 say.")] = "",
    effective: Annotated[
        dt.datetime | None,
        typer.Option(parser=_instant, metavar="TIME", help="When it truly happened, if that was not now."),
    ] = None,
    party: Annotated[str, typer.Option(help="Handed over to whom, or received from whom.")] = "",
    actor: Annotated[str, typer.Option(help="Who did it.")] = "",
    note: Annotated[str, typer.Option(help="A remark in free words.")] = "",
    as_json: Json = False,
) -> None:
    """Append a scan or a note to the outbox; works offline and beside a running agent."""
    from deploy import cli_edge

    if kind is Kind.SCAN and not (act and batch_id and equipment):
        raise answers.CommandError("a scan needs --act, --batch and --equipment")
    if kind is Kind.NOTE and not note:
        raise answers.CommandError("a note needs --note TEXT")
    code = cli_edge.event(
        config,
        kind=kind.value,
        act=act.value if act else None,
        batch=batch_id,
        equipment=equipment,
        effective=effective,
        party=party,
        actor=actor,
        note=note,
        json=as_json,
    )
    raise typer.Exit(code)


@edge.command("outbox")
def edge_outbox(*, config: Config, as_json: Json = False) -> None:
    """Show depth, oldest, forecast, parked and quarantined segments."""
    from deploy import cli_edge

    raise typer.Exit(cli_edge.outbox(config, json=as_json))


@collector.command("check")
def collector_check(*, config: Config, as_json: Json = False) -> None:
    """Validate the configuration and report every fault at once."""
    from deploy import cli_collector

    raise typer.Exit(cli_collector.check(config, json=as_json))


@collector.command("run")
def collector_run(*, config: Config) -> None:
    """Run the collector until Ctrl-C or SIGTERM; an absent broker never ends it."""
    from deploy import cli_collector

    raise typer.Exit(cli_collector.run(config))


@broker.command("acl")
def broker_acl(
    *,
    clients: Annotated[Path, typer.Argument(metavar="CLIENTS.toml", help="Who may connect.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write to a file instead of stdout.")
    ] = None,
) -> None:
    """Print mosquitto's acl file for a list of clients."""
    from deploy import cli_broker

    raise typer.Exit(cli_broker.acl(clients, output))


Authority = Annotated[Path, typer.Option("--authority", help="The folder of ca.crt and ca.key.")]


@broker.command("authority")
def broker_authority(*, authority: Authority) -> None:
    """Make a certificate authority of one's own, once."""
    from deploy import cli_broker

    raise typer.Exit(cli_broker.make_authority(authority))


@broker.command("certificate")
def broker_certificate(
    *,
    name: Annotated[str, typer.Argument(help="group/node of a gateway, or another client's name.")],
    authority: Authority,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder of certificate and key.")
    ] = None,
    server: Annotated[
        list[str] | None, typer.Option(help="For the broker itself: its host names and addresses.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, help="How long it is valid.")] = 825,
) -> None:
    """Issue a certificate and its key."""
    from deploy import cli_broker

    code = cli_broker.certificate(authority, name, output=output, server=tuple(server or ()), days=days)
    raise typer.Exit(code)


@collector.command("backup")
def collector_backup(
    *,
    config: Config,
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="A folder that does not exist yet.")],
    as_json: Json = False,
) -> None:
    """Copy ledger and registry at one position, while the collector runs."""
    from deploy import cli_collector

    raise typer.Exit(cli_collector.backup(config, target, json=as_json))


@collector.command("restore")
def collector_restore(
    *,
    config: Config,
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="What `backup` made.")],
    force: Annotated[bool, typer.Option("--force", help="Move aside what is in data_dir.")] = False,
    as_json: Json = False,
) -> None:
    """Verify a backup and put it into data_dir; gateways then send again everything they keep."""
    from deploy import cli_collector

    raise typer.Exit(cli_collector.restore(config, source, force=force, json=as_json))


@collector.command("archive")
def collector_archive(
    *,
    config: Config,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every file and check every payload.")
    ] = False,
    as_json: Json = False,
) -> None:
    """The ledger's archive files: which entries they hold, what they take, what was deleted by a retention.
    Exit 1: one is damaged.
    """
    from deploy import cli_store

    raise typer.Exit(cli_store.archive(config, verify=verify, json=as_json))


@collector.command("rebuild")
def collector_rebuild(*, config: Config, as_json: Json = False) -> None:
    """Make everything derived anew from ledger and journal and compare it with what was there.

    The collector must be stopped. Exit 1: something differs; the old files are kept beside.
    The alarms' moves stay as they are: delete alarms.db to have them made anew.
    """
    from deploy import cli_store

    raise typer.Exit(cli_store.rebuild(config, json=as_json))


@app.command()
def bench(
    *,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Without: list the names.")] = None,
    seconds: Annotated[float | None, typer.Option(min=1, help="How long is sent (default 120).")] = None,
    readings: Annotated[
        int | None, typer.Option(min=1, help="In the outboxes (default: as many as a short trial asks for).")
    ] = None,
    outboxes: Annotated[int | None, typer.Option(min=1, help="Gateways (default 32).")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Whether it works at all: small, and without the peers.")
    ] = False,
    peers: Annotated[bool, typer.Option(help="Measure InfluxDB and VictoriaMetrics in the same run.")] = True,
    folder: Annotated[
        Path | None, typer.Option("--dir", help="Where its files are made and removed.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder of public data sets, for `detect`; or TELOMERE_BENCH_DATA.")
    ] = None,
    docs: Annotated[Path | None, typer.Option(help="Write the table into this page.")] = None,
    as_json: Json = False,
) -> None:
    """Measure what this machine sustains (docs/benchmarks.md)."""
    from deploy import cli_bench

    if name is None:
        raise typer.Exit(cli_bench.names(json=as_json))
    code = cli_bench.run(
        name,
        seconds=seconds,
        readings=readings,
        outboxes=outboxes,
        quick=quick,
        peers=peers,
        docs=docs,
        folder=folder,
        data=data,
        json=as_json,
    )
    raise typer.Exit(code)


@app.command(
    "verify",
    help="Check a batch record offline (not built yet)",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def verify(ctx: typer.Context) -> None:
    """Comes with the batch record."""
    answers.not_built(ctx.command_path)


detecting.register(edge)

if __name__ == "__main__":
    main()
