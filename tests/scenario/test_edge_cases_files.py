"""Edge cases of loggers' files as data: files, live readings and acts through the API, and what is known.

Each file of `edge_cases/files` names its detector; without it the case fails, or the file proves nothing.
"""

from __future__ import annotations

import importlib
import json
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from collector.access.rights import Role
from gateway.contract.events import EVENT_METRIC, ManualReading, event_text
from gateway.contract.reading import Kind, Reading
from tests.apis import Api, api_running
from tests.gateways import metric
from tests.scenario.test_edge_cases import silenced

FOLDER: Final = Path(__file__).parent / "edge_cases" / "files"
FILES: Final = sorted(FOLDER.glob("*.json"))
Document = dict[str, Any]
DEVICE: Final = "SHP-01"


class Case:
    """One file, told step by step to a running collector."""

    def __init__(self, document: Document, api: Api) -> None:
        self.document = document
        self.api = api
        self.made: dict[str, str] = {}
        self.people: dict[str, httpx.AsyncClient] = {}

    async def tell(self) -> None:
        for name in ("anna", "ben"):
            self.people[name] = await self.api.person(name, Role.QA)
        for step in self.document["steps"]:
            await self._do(step)

    async def _do(self, step: Document) -> None:
        who = self.people[step.get("who", "anna")]
        match step["do"]:
            case "post":
                where = str(step["to"])
                for name, made in self.made.items():
                    where = where.replace(f"<{name}>", made)
                self._said(step, await who.post(where, json=step["body"]))
            case "import":
                content = "\n".join(step["lines"]).encode()
                self._said(step, await who.post("/imports", content=content, params=step["params"]))
            case "preview":
                content = "\n".join(step["lines"]).encode()
                self._said(step, await who.post("/imports/preview", content=content, params=step["params"]))
            case "live":
                await self._live(step["readings"], period_ms=step["period_s"] * 1000)
            case "by hand":
                event = ManualReading(**step["event"], time=datetime.fromisoformat(step["time"]))
                row = Reading(ms(step["time"]), Kind.STRING, event_text(event), 0, EVENT_METRIC)
                await self.api.take(self.api.gateway.data(self.api.gateway.make("-", [row])))
            case "mark":
                known = (await who.get("/exceptions")).json()["known"]
                self.made[step["name"]] = known["token"]
            case other:
                raise AssertionError(other)

    def _said(self, step: Document, answer: httpx.Response) -> None:
        assert answer.status_code == step.get("status", 201), answer.text
        if "as" in step:
            self.made[step["as"]] = answer.json()["id"]
        for part in step.get("says", ()):
            assert part in answer.text, (part, answer.text)

    async def _live(self, values: list[list[Any]], *, period_ms: int) -> None:
        gateway = self.api.gateway
        births = [metric("temperature", 1, period_ms=period_ms)]
        rows = [Reading(ms(text), Kind.F64, float(value), 1) for text, value in values]
        made = gateway.make(DEVICE, rows, wall_ms=rows[-1].time_ms + period_ms)
        await self.api.take(gateway.nbirth(), gateway.dbirth(DEVICE, births), gateway.data(made))

    async def check(self) -> None:
        client = self.people["anna"]
        for expected in self.document["expect"]:
            known = self.made.get(expected.get("as_known_at", ""), "")
            params = {"as_known_at": known} if known else {}
            for point, rows in expected.get("readings", {}).items():
                answer = await client.get(f"/points/{point}/readings", params=params)
                found = [[one["time"][:19], one["value"]] for one in answer.json()["items"]]
                assert found == rows, point
            items = (await client.get("/exceptions", params=params)).json()["items"]
            kinds = sorted([one["kind"], one["subject"]] for one in items)
            assert kinds == sorted(expected.get("exceptions", kinds))
            for part in expected.get("evidence", ()):
                assert any(part in text for one in items for text in one["evidence"]), (part, items)
            for batch, wanted in expected.get("history", {}).items():
                history = (await client.get(f"/batches/{batch}/history", params=params)).json()
                if "by_hand" in wanted:
                    said = [one for leg in history["legs"] for one in leg["by_hand"]]
                    values = [[version["value"] for version in one["versions"]] for one in said]
                    assert [[one["value"], *values[at]] for at, one in enumerate(said)] == wanted["by_hand"]
                points = {one["point"]: one for leg in history["legs"] for one in leg["points"]}
                for point, row in ((name, row) for name, row in wanted.items() if name != "by_hand"):
                    assert {key: points[point][key] for key in row} == row


def ms(text: str) -> int:
    """An instant written to the second."""
    return int(datetime.fromisoformat(text).timestamp() * 1000)


async def run(path: Path, folder: Path) -> None:
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(api_running(folder))
        case = Case(json.loads(path.read_text(encoding="utf-8")), api)
        await case.tell()
        await case.check()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
async def test_edge_case_of_files(path: Path, tmp_path: Path) -> None:
    await run(path, tmp_path)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
async def test_without_its_detector_the_case_of_files_fails(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    if "." not in document["detector"].partition(":")[2]:
        silenced(document, monkeypatch)
        with pytest.raises(AssertionError):
            await run(path, tmp_path)
        return
    module_name, _, attribute = document["detector"].partition(":")
    owner: Any = importlib.import_module(module_name)
    *classes, name = attribute.split(".")
    for one in classes:
        owner = getattr(owner, one)
    gives = document.get("gives", [])
    blind = (lambda first, *_rest, **_more: first) if gives == "first" else (lambda *_args, **_more: gives)
    monkeypatch.setattr(owner, name, blind)
    with pytest.raises(AssertionError):
        await run(path, tmp_path)


def test_every_case_of_files_has_its_number_title_and_behaviour() -> None:
    for path in FILES:
        document = json.loads(path.read_text(encoding="utf-8"))
        assert path.name.startswith(f"{document['case']:02d}-")
        assert document["title"]
        assert document["expect"]
