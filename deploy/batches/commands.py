"""`telomere batch …`: names, options and help of the commands about batches.

Owns the command line of this group only; bodies are in `bodies`, imported when called. What is not
built yet (the record, and parquet, pdf and epcis as forms) says so with exit 2.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from deploy import answers

batch = typer.Typer(no_args_is_help=True, help="Batches, asked from a running collector.")


class Format(StrEnum):
    """Forms in which a batch's answer is given."""

    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"
    PDF = "pdf"
    EPCIS = "epcis"


Url = Annotated[str, typer.Option(envvar="TELOMERE_URL", help="The collector.")]
Token = Annotated[str, typer.Option(envvar="TELOMERE_TOKEN", help="Bearer token.", show_default=False)]
As = Annotated[
    Format | None,
    typer.Option("--format", help="Instead of text for people; parquet, pdf and epcis are not built yet."),
]
Out = Annotated[Path | None, typer.Option("-o", "--output", help="Write to a file instead of stdout.")]
Known = Annotated[
    str | None, typer.Option("--as-known-at", metavar="T", help="A position (L12.J3) or an RFC 3339 time.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
URL: Final = "http://127.0.0.1:8080"


@batch.command("list")
def batch_list(
    *, url: Url = URL, token: Token = "", form: As = None, output: Out = None, as_json: Json = False
) -> None:
    """Every batch."""
    from deploy.batches import bodies

    ask = bodies.Ask(url=url, token=token, form=_form(form, as_json=as_json), output=output)
    raise typer.Exit(bodies.show_list(ask))


@batch.command("show")
def batch_show(
    *,
    batch_id: Annotated[str, typer.Argument(metavar="ID")],
    url: Url = URL,
    token: Token = "",
    form: As = None,
    output: Out = None,
    as_json: Json = False,
) -> None:
    """One batch: its identity and product profile."""
    from deploy.batches import bodies

    ask = bodies.Ask(url=url, token=token, form=_form(form, as_json=as_json), output=output)
    raise typer.Exit(bodies.show_batch(ask, batch_id))


@batch.command("history")
def batch_history(
    *,
    batch_id: Annotated[str, typer.Argument(metavar="ID")],
    url: Url = URL,
    token: Token = "",
    known: Known = None,
    form: As = None,
    output: Out = None,
    as_json: Json = False,
) -> None:
    """Where a batch was, how well it was watched, and what went wrong."""
    from deploy.batches import bodies

    ask = bodies.Ask(url=url, token=token, form=_form(form, as_json=as_json), output=output)
    raise typer.Exit(bodies.show_history(ask, batch_id, known))


@batch.command("readiness")
def batch_readiness(
    *,
    batch_id: Annotated[str, typer.Argument(metavar="ID")],
    purpose: Annotated[
        str, typer.Option("--for", help="accept, proceed, ship, release, receive or infuse.")
    ] = "release",
    url: Url = URL,
    token: Token = "",
    known: Known = None,
    form: As = None,
    output: Out = None,
    as_json: Json = False,
) -> None:
    """Whether a batch may go on: sixteen checks; exit 1 when it is not ready."""
    from deploy.batches import bodies

    ask = bodies.Ask(url=url, token=token, form=_form(form, as_json=as_json), output=output)
    raise typer.Exit(bodies.show_readiness(ask, batch_id, purpose, known))


@batch.command("manifest")
def batch_manifest(
    *,
    batch_id: Annotated[str, typer.Argument(metavar="ID")],
    url: Url = URL,
    token: Token = "",
    known: Known = None,
    form: As = None,
    output: Out = None,
    as_json: Json = False,
) -> None:
    """Every reading that was due, by the plan it was due by, and what became of it."""
    from deploy.batches import bodies

    ask = bodies.Ask(url=url, token=token, form=_form(form, as_json=as_json), output=output)
    raise typer.Exit(bodies.show_manifest(ask, batch_id, known))


@batch.command(
    "record",
    help="The environmental record (not built yet)",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def batch_record(ctx: typer.Context) -> None:
    """Comes with a later issue."""
    answers.not_built(ctx.command_path)


def _form(form: Format | None, *, as_json: bool) -> str:
    """The form asked for: `text` when none was."""
    if form not in {None, Format.JSON, Format.CSV}:
        answers.not_built(f"--format {form}")
    return "json" if as_json else form.value if form else "text"
