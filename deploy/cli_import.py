"""Bodies of `telomere import …`: files given to a running collector over HTTP, again as often as one likes.

Owns the reading of lists and the sentences of the answer. A client like any other: must not import the
collector. Every row is sent; what is there already is told as such, what is refused ends with exit 1.
"""

from __future__ import annotations

import csv
import datetime as dt
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from deploy.answers import CommandError, Exit

TIMEOUT_S: Final = 120.0
"""A file of half a million rows takes some ten seconds."""
_LINK: Final = ("role", "subject", "object", "from", "to", "reason", "source")
_ACT: Final = ("act", "batch", "equipment", "time", "effective", "note")
_NEW: Final = 201


@dataclass(frozen=True, kw_only=True, slots=True)
class There:
    """The collector, who asks, and whether anything may change."""

    url: str
    token: str
    dry_run: bool
    json: bool


def readings(there: There, file: Path, said: Mapping[str, Any]) -> int:
    """One file of a logger. Exit 1 when the preview asks for something."""
    where = "imports/preview" if there.dry_run else "imports"
    given = {key: value for key, value in said.items() if value != ""}
    with _client(there) as client:
        answer = _sent(client, where, params=given, content=file.read_bytes())
    found = _document(answer)
    if there.json:
        print(json.dumps(found, ensure_ascii=False))
    else:
        print(_told(found, new=answer.status_code == _NEW, dry_run=there.dry_run))
    return int(Exit.FINDING if found.get("asks") else Exit.FINE)


def _told(found: Mapping[str, Any], *, new: bool, dry_run: bool) -> str:
    if found["kind"] == "evidence":
        head = f"evidence, no readings: {found['problem']}"
    else:
        head = (
            f"{found['readings']} readings ({found['bad']} bad) in {found['rows']} rows of {found['logger']}"
        )
    lines = [head]
    if found["first"]:
        lines.append(f"from {found['first']} to {found['last']}, zone {found['zone'] or 'in the file'}")
    lines += [f"{one['point']}  {one['min']} to {one['max']} {one['unit']}" for one in found["points"]]
    if dry_run:
        lines += [f"candidate: {one}" for one in found["candidates"]]
        lines += [f"asks: {found['asks']}"] if found["asks"] else []
        lines.append(f"already here as {found['already']}" if found["already"] else "nothing was stored")
        lines += [
            f"  {what}: is {is_!r}, would be {would!r}"
            for what, (is_, would) in found["differs"].items()
            if what != "points"
        ]
    else:
        lines.append(f"{'imported as' if new else 'here already:'} {found['id']}")
        lines += ["in the inbox: link its points"] if found["inbox"] else []
    return "\n".join(lines)


def events(there: There, file: Path) -> int:
    """EPCIS, or one act a row."""
    text = file.read_text(encoding="utf-8-sig")
    if not text.lstrip().startswith(("{", "[")):
        return _list(there, file, "events", _ACT)
    try:
        document = json.loads(text)
    except ValueError as error:
        raise CommandError(f"{file} is no JSON: {error}") from error
    if isinstance(document, list):
        document = {"type": "EPCISDocument", "epcisBody": {"eventList": document}}
    body = document.get("epcisBody") or {}
    count = len(body.get("eventList") or [document])
    if there.dry_run:
        print(json.dumps({"events": count}) if there.json else f"{count} EPCIS events; nothing was stored")
        return int(Exit.FINE)
    with _client(there) as client:
        answer = _sent(client, "events", json=document)
    found = _document(answer)
    if there.json:
        print(json.dumps(found, ensure_ascii=False))
    else:
        state = "kept" if answer.status_code == _NEW else "all here already"
        print(
            "\n".join(
                [f"{len(found['items'])} EPCIS events {state}", *(one["hash"] for one in found["items"])]
            )
        )
    return int(Exit.FINE)


def links(there: There, file: Path) -> int:
    """One link a row."""
    return _list(there, file, "links", _LINK)


def _list(there: There, file: Path, path: str, columns: tuple[str, ...]) -> int:
    """Every row on its own; what the collector refuses is told with its line."""
    rows = _rows(file, columns)
    out: list[dict[str, Any]] = []
    with _client(there) as client:
        for number, row in rows:
            if there.dry_run:
                out.append({"line": number, **_compared(client, path, row), **row})
                continue
            try:
                answer = _sent(client, path, json=row)
            except CommandError as error:
                if error.code == Exit.UNREACHABLE:
                    raise
                out.append({"line": number, "state": "refused", "why": str(error)})
                continue
            state = "new" if answer.status_code == _NEW else "here already"
            out.append({"line": number, "state": state, "id": _document(answer)["id"]})
    if there.json:
        print(json.dumps({"items": out}, ensure_ascii=False))
    else:
        for one in out:
            print(f"line {one['line']}: {one['state']}  {one.get('id', '')}{one.get('why', '')}".rstrip())
        print(", ".join(f"{count} {state}" for state, count in Counter(one["state"] for one in out).items()))
    return int(Exit.FINDING if any(one["state"] == "refused" for one in out) else Exit.FINE)


def _compared(client: httpx.Client, path: str, row: Mapping[str, str]) -> dict[str, str]:
    """What a row would do: `new`, `here already`, or how it differs from what is there."""
    if path == "links":
        asked = {key: row[key] for key in ("subject", "object", "role") if key in row}
        for one in _asked(client, "links", asked):
            ends = {"from": one["from"], "to": one["to"], "state": one["state"]}
            if all(_instant(row.get(key)) == _instant(ends[key]) for key in ("from", "to")):
                return {"state": "here already", "id": one["id"]}
            if _instant(row.get("from")) == _instant(ends["from"]):
                return {"state": "differs", "id": one["id"], "why": f" ends {ends['to'] or 'nowhere'} there"}
        return {"state": "new"}
    same = (
        one
        for one in _asked(client, "events", {"kind": "scan"})
        if all(one.get(key, "") == row.get(key, "") for key in ("act", "batch", "equipment"))
        and _instant(one["time"]) == _instant(row.get("time"))
    )
    found = next(same, None)
    return {"state": "new"} if found is None else {"state": "here already", "id": str(found["id"])}


def _asked(client: httpx.Client, path: str, params: Mapping[str, str]) -> list[dict[str, Any]]:
    """Items of every page; none where a name is not known yet."""
    items: list[dict[str, Any]] = []
    more: dict[str, str] = {}
    while True:
        try:
            answer = client.get(path, params={**params, **more, "limit": "500"})
        except httpx.TransportError as error:
            raise CommandError(f"cannot reach {client.base_url}: {error}", code=Exit.UNREACHABLE) from error
        if not answer.is_success:
            return items
        page = _document(answer)
        items += page["items"]
        if not page.get("next"):
            return items
        more = {"cursor": str(page["next"])}


def _instant(text: str | None) -> dt.datetime | None:
    """None for an open end, and for what is no time: the collector will say so."""
    try:
        return dt.datetime.fromisoformat(text) if text else None
    except ValueError:
        return None


def _rows(file: Path, columns: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """(line, cells that hold something). Raises CommandError for columns that nobody knows."""
    with file.open(encoding="utf-8-sig", newline="") as opened:
        reader = csv.DictReader(opened)
        unknown = [name for name in reader.fieldnames or [] if name not in columns]
        if unknown or not reader.fieldnames:
            problem = f"unknown column {unknown[0]!r}" if unknown else "no header line"
            raise CommandError(f"{file}: {problem}", hint=f"the columns are {', '.join(columns)}")
        return [
            (
                reader.line_num,
                {key: value.strip() for key, value in row.items() if key and (value or "").strip()},
            )
            for row in reader
        ]


def _client(there: There) -> httpx.Client:
    headers = {"Authorization": f"Bearer {there.token}"} if there.token else {}
    return httpx.Client(base_url=f"{there.url.rstrip('/')}/api/v1/", headers=headers, timeout=TIMEOUT_S)


def _sent(client: httpx.Client, path: str, **what: Any) -> httpx.Response:
    """The answer of a success; raises CommandError in words for everything else."""
    try:
        answer = client.post(path, **what)
    except httpx.TransportError as error:
        hint = "is the collector running there? give its address with --url or TELOMERE_URL"
        raise CommandError(
            f"cannot reach {client.base_url}: {error}", hint=hint, code=Exit.UNREACHABLE
        ) from error
    except httpx.InvalidURL as error:
        raise CommandError(f"not an address: {client.base_url} ({error})") from error
    if answer.is_success:
        return answer
    try:
        problem = answer.json()
    except ValueError:
        problem = {}
    told = problem.get("detail") or problem.get("title") if isinstance(problem, dict) else None
    sentence = told or f"{answer.status_code} {answer.reason_phrase}"
    code = Exit.UNREACHABLE if answer.is_server_error else Exit.USAGE
    raise CommandError(f"the collector answers: {sentence}", code=code)


def _document(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise CommandError(f"{answer.url} gave no JSON document", code=Exit.UNREACHABLE)
    return found
