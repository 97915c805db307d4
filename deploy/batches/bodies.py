"""`telomere batch …`: lists, identity, history, readiness and manifest, asked from a collector over HTTP.

Owns the questions and the forms of the answers (text for people, JSON as received, CSV). Must not
import the collector: it is a client like any other and sees the documented interface only.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx
from rich.console import Console
from rich.table import Table

from deploy.answers import CommandError, Exit

TIMEOUT_S: Final = 60.0
"""A history over years of readings takes seconds; longer than this the collector is stuck."""
PAGES_MAX: Final = 10_000
"""Pages of one list: a cursor that never ends is a fault of the other side."""
LEG_COLUMNS: Final = ("equipment", "from", "to", "source", "state")
POINT_COLUMNS: Final = (
    "point",
    "unit",
    "slots",
    "present",
    "late_pending",
    "missing",
    "faulty",
    "not_required",
    "unassigned",
    "not_kept",
    "min",
    "max",
    "mean",
)
MANIFEST_COLUMNS: Final = ("equipment", "parameter", "point", "from", "to", "period_s")
"""Before the counts, whose letters the document's total names, and the causes of what is missing."""

Document = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """Where to ask, as whom, and in which form (`text`, `json`, `csv`) and place the answer goes."""

    url: str
    token: str
    form: str
    output: Path | None


def show_list(ask: Ask) -> int:
    """Every batch, over all pages."""
    with _client(ask) as client:
        items = list(_items(client, "batches"))
    rows = [{key: _cell(value) for key, value in item.items()} for item in items]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return _answer(ask, {"items": items, "next": None}, columns, rows)


def show_batch(ask: Ask, batch_id: str) -> int:
    """One batch as the collector knows it."""
    with _client(ask) as client:
        document = _get(client, f"batches/{_quoted(batch_id)}")
    rows = [{"field": key, "value": _cell(value)} for key, value in document.items()]
    return _answer(ask, document, ["field", "value"], rows)


def show_history(ask: Ask, batch_id: str, known: str | None) -> int:
    """A batch's legs with their points, excursions and exceptions at a known position."""
    with _client(ask) as client:
        params = {} if known is None else {"as_known_at": known}
        document = _get(client, f"batches/{_quoted(batch_id)}/history", params)
    rows = list(_legs(document))
    return _answer(ask, document, [*LEG_COLUMNS, *POINT_COLUMNS], rows, after=_findings(document))


def show_readiness(ask: Ask, batch_id: str, purpose: str, known: str | None) -> int:
    """The gate's checks; a negative finding unless the batch is ready."""
    with _client(ask) as client:
        params = {"for": purpose, **({} if known is None else {"as_known_at": known})}
        document = _get(client, f"batches/{_quoted(batch_id)}/readiness", params)
    rows = [
        {
            "check": check["id"],
            "result": check["result"],
            "what": check["what"],
            "evidence": "; ".join(check["evidence"]),
        }
        for check in document["checks"]
    ]
    after = [
        f"verdict    {document['verdict'].replace('_', ' ')} for {document['for']}",
        f"known at   {_cell(document.get('known'))}",
    ]
    _answer(ask, document, ["check", "result", "what", "evidence"], rows, after=after)
    return Exit.FINE if document["verdict"] == "ready" else Exit.FINDING


def show_manifest(ask: Ask, batch_id: str, known: str | None) -> int:
    """What was due, line by line: n slots, each in exactly one state (docs/rules.md, "The manifest")."""
    with _client(ask) as client:
        params = {} if known is None else {"as_known_at": known}
        document = _get(client, f"batches/{_quoted(batch_id)}/manifest", params)
    rows = list(_manifest_lines(document))
    columns = [*MANIFEST_COLUMNS, *document["total"], "causes"]
    told = "  ".join(f"{letter} {count}" for letter, count in document["total"].items())
    after = [
        *(f"red        {why}" for why in document["red"]),
        f"total      {told}",
        f"ratio      {_cell(document['ratio']) or 'none: no slot was required'}",
        f"known at   {_cell(document['known'])}",
    ]
    return _answer(ask, document, columns, rows, after=after)


def _client(ask: Ask) -> httpx.Client:
    headers = {"Authorization": f"Bearer {ask.token}"} if ask.token else {}
    return httpx.Client(base_url=f"{ask.url.rstrip('/')}/api/v1/", headers=headers, timeout=TIMEOUT_S)


def _get(client: httpx.Client, path: str, params: Mapping[str, str] | None = None) -> Document:
    """The JSON document at a path; raises CommandError in words for everything else."""
    try:
        response = client.get(path, params=params)
    except httpx.TransportError as error:
        hint = "is the collector running there? give its address with --url or TELOMERE_URL"
        raise CommandError(
            f"cannot reach {client.base_url}: {error}", hint=hint, code=Exit.UNREACHABLE
        ) from error
    except httpx.InvalidURL as error:
        raise CommandError(f"not an address: {client.base_url} ({error})") from error
    if response.is_success:
        return _document(response)
    raise _refusal(response)


def _document(response: httpx.Response) -> Document:
    try:
        document = response.json()
    except ValueError:
        document = None
    if not isinstance(document, dict):
        hint = "this address answers, but not as a collector: check --url"
        raise CommandError(f"{response.url} gave no JSON document", hint=hint, code=Exit.UNREACHABLE)
    return document


def _refusal(response: httpx.Response) -> CommandError:
    """An answer that is no success, from its problem document (RFC 9457) where it has one."""
    try:
        problem = response.json()
    except ValueError:
        problem = {}
    told = problem if isinstance(problem, dict) else {}
    words = [str(told[key]) for key in ("title", "detail") if told.get(key)]
    sentence = ": ".join(words) or f"{response.status_code} {response.reason_phrase}"
    hint = {401: "give a token with --token or TELOMERE_TOKEN", 403: "this token may not read that"}
    code = Exit.UNREACHABLE if response.is_server_error and response.status_code != 501 else Exit.USAGE
    return CommandError(
        f"the collector answers: {sentence}", hint=hint.get(response.status_code, ""), code=code
    )


def _items(client: httpx.Client, path: str) -> Iterator[Document]:
    """The items of a list, page after page."""
    params: dict[str, str] = {}
    for _ in range(PAGES_MAX):
        page = _get(client, path, params)
        yield from page["items"]
        if not page.get("next"):
            return
        params = {"cursor": str(page["next"])}
    raise CommandError(f"{path} has more than {PAGES_MAX} pages", code=Exit.UNREACHABLE)


def _quoted(batch_id: str) -> str:
    return quote(batch_id, safe=":")


def _legs(document: Document) -> Iterator[dict[str, str]]:
    """One row a leg and point; a leg without points has one row too."""
    for leg in document.get("legs") or []:
        place = {key: _cell(leg.get(key)) for key in LEG_COLUMNS}
        for point in leg.get("points") or [{}]:
            yield place | {key: _cell(point.get(key)) for key in POINT_COLUMNS}


def _manifest_lines(document: Document) -> Iterator[dict[str, str]]:
    """One row a line of the manifest; time without any sensor has no point."""
    for leg in document["legs"]:
        for parameter in leg["parameters"]:
            for point in parameter["points"]:
                yield from _counted(leg, parameter["parameter"], point["point"], point["lines"])
            yield from _counted(leg, parameter["parameter"], "", parameter["unassigned"])
        yield from _counted(leg, "", "", leg["unassigned"])


def _counted(
    leg: Document, parameter: str, point: str, lines: Sequence[Document]
) -> Iterator[dict[str, str]]:
    place = {"equipment": leg["equipment"], "parameter": parameter, "point": point}
    for line in lines:
        yield place | {key: _cell(value) for key, value in line.items()}


def _findings(document: Document) -> list[str]:
    """What went wrong, and what is not kept or signed, one sentence each, for the text form."""
    lines = [
        f"not kept   {one['point']}  {one['from']} – {one['to']}" for one in document.get("not_kept") or []
    ]
    for found in document.get("excursions") or []:
        span = f"{_cell(found.get('from'))} – {_cell(found.get('to')) or 'open'}"
        lines.append(
            f"excursion  {found.get('point')}  {found.get('side')}  {span}  "
            f"{found.get('seconds')} s  peak {found.get('peak')}"
        )
    return [
        *lines,
        *(
            f"exception  {found.get('kind')}  {found.get('subject')}  {found.get('state')}"
            for found in document.get("exceptions") or []
        ),
        f"record     {(document.get('record') or {}).get('state', 'unsigned')}",
        f"verdict    {_cell(document.get('verdict')) or 'not built yet'}",
        f"known at   {_cell(document.get('known'))}",
    ]


def _cell(value: object) -> str:
    """A value in one cell: nothing for null, JSON for what is nested."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _answer(
    ask: Ask,
    document: Document,
    columns: Sequence[str],
    rows: Sequence[Mapping[str, str]],
    after: Sequence[str] = (),
) -> int:
    """Writes the answer in the form and to the place that were asked for."""
    if ask.form == "json":
        text = json.dumps(document, ensure_ascii=False, indent=None if ask.output is None else 2) + "\n"
    elif ask.form == "csv":
        text = _csv(columns, rows)
    else:
        text = _table(columns, rows, after)
    if ask.output is None:
        sys.stdout.write(text)
    else:
        ask.output.write_text(text, encoding="utf-8", newline="")
    return Exit.FINE


def _csv(columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _table(columns: Sequence[str], rows: Sequence[Mapping[str, str]], after: Sequence[str]) -> str:
    """A table for people: columns that say nothing in any row are left out."""
    telling = [column for column in columns if any(row.get(column) for row in rows)]
    table = Table(box=None, pad_edge=False)
    for column in telling:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(row.get(column, "") for column in telling))
    console = Console(file=io.StringIO(), width=None if sys.stdout.isatty() else 200)
    with console.capture() as captured:
        if rows:
            console.print(table)
        else:
            console.print("nothing yet")
    return captured.get() + "".join(f"{line}\n" for line in after)
