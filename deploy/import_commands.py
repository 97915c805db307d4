"""`telomere import …`: names, options and help of the import commands.

Owns the command line of this group only; bodies are in `cli_import`, imported when called.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy import answers

bring = typer.Typer(no_args_is_help=True, help="Logger files, scan lists, EPCIS events, link lists.")

File = Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, readable=True)]
Url = Annotated[str, typer.Option(envvar="TELOMERE_URL", help="The collector.")]
Token = Annotated[str, typer.Option(envvar="TELOMERE_TOKEN", help="Bearer token.", show_default=False)]
Dry = Annotated[bool, typer.Option("--dry-run", help="Show what would happen; nothing is stored.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
URL = "http://127.0.0.1:8080"


@bring.command("readings")
def readings(
    *,
    file: File,
    map_name: Annotated[str, typer.Option("--map", metavar="NAME", help="A saved column mapping.")] = "",
    logger: Annotated[str, typer.Option(help="Serial number, where the file does not say it.")] = "",
    zone: Annotated[str, typer.Option(help="Zone of times without one, Europe/Zurich say.")] = "",
    form: Annotated[str, typer.Option("--format", help="Form of times (strptime), where unclear.")] = "",
    offset_s: Annotated[float, typer.Option("--offset", help="Seconds the logger was ahead.")] = 0.0,
    bound_s: Annotated[float | None, typer.Option("--bound", help="Seconds of doubt left.")] = None,
    stamp: Annotated[
        list[str] | None,
        typer.Option(help="LOGGER=TRUE, what it showed at that true time; two of them tell its drift."),
    ] = None,
    subject: Annotated[str, typer.Option(help="What a file without readings is evidence of.")] = "",
    dry_run: Dry = False,
    url: Url = URL,
    token: Token = "",
    as_json: Json = False,
) -> None:
    """A logger's file: kept as it is, its readings taken. The same file again changes nothing."""
    from deploy import cli_import

    said = {
        "name": file.name,
        "map": map_name,
        "logger": logger,
        "zone": zone,
        "format": form,
        "offset_s": offset_s,
        "subject": subject,
    }
    said |= {} if bound_s is None else {"bound_s": bound_s}
    said |= {"stamp": stamp} if stamp else {}
    there = cli_import.There(url=url, token=token, dry_run=dry_run, json=as_json)
    raise typer.Exit(cli_import.readings(there, file, said))


@bring.command("events")
def events(
    *, file: File, dry_run: Dry = False, url: Url = URL, token: Token = "", as_json: Json = False
) -> None:
    """EPCIS events (JSON), or a scan list (CSV: act,batch,equipment,time,effective,note)."""
    from deploy import cli_import

    there = cli_import.There(url=url, token=token, dry_run=dry_run, json=as_json)
    raise typer.Exit(cli_import.events(there, file))


@bring.command("links")
def links(
    *, file: File, dry_run: Dry = False, url: Url = URL, token: Token = "", as_json: Json = False
) -> None:
    """A link list (CSV: role,subject,object,from,to,reason)."""
    from deploy import cli_import

    there = cli_import.There(url=url, token=token, dry_run=dry_run, json=as_json)
    raise typer.Exit(cli_import.links(there, file))


@bring.command(
    "tags",
    help="Import tags from a file (not built yet)",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def tags(ctx: typer.Context) -> None:
    """Tag lists come with a later issue."""
    answers.not_built(ctx.command_path)
