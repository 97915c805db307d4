"""What is asked of a collector at a position, and the comparison of two recordings byte for byte.

Owns the questions and the whole run: busy, recorded, made anew, asked again in a new process. Must not
know what happens on the site.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from collector.store.chunks.file import CHUNKS_NAME
from tests.apis import NO_BROKER, Api, Clock, api_running
from tests.oracle.answers.busy import BATCHES, Busy
from tests.outside import telomere

LATER_S: Final = 30 * 86_400
"""The second life is a month after the first."""
QUESTIONS: Final = (
    *(f"/batches/{batch}/history" for batch in BATCHES),
    *(f"/batches/{batch}/readiness?for=release" for batch in BATCHES),
    "/exceptions",
    "/excursions",
)


@dataclass
class Recording:
    """Answers (bytes as text) by position and question."""

    answers: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """Of all answers."""
        return sum(len(text) for found in self.answers.values() for text in found.values())

    def differing(self, other: Recording) -> list[str]:
        """`position question` of every answer that is not the same."""
        return [
            f"{token} {question}"
            for token, found in self.answers.items()
            for question, text in found.items()
            if other.answers.get(token, {}).get(question) != text
        ]


async def ask(client: httpx.AsyncClient, token: str) -> dict[str, str]:
    """Every question as known at a position."""
    out = {}
    for question in QUESTIONS:
        answer = await client.get(
            question, params=httpx.QueryParams(httpx.URL(question).query.decode()).set("as_known_at", token)
        )
        assert answer.status_code == 200, f"{question} at {token}: {answer.text}"
        out[question] = answer.text
    return out


async def record(folder: Path, *, acts: int, positions: int, seed: int) -> tuple[Recording, dict[str, Any]]:
    """A site that is busy for so many acts; its answers at some moments, asked at once."""
    recording = Recording()
    draw = random.Random(seed)
    moments = sorted(draw.sample(range(acts), positions))
    async with api_running(folder) as api:
        busy = Busy(api, seed)
        await busy.begin()
        for number in range(acts):
            await busy.act()
            if moments and number >= moments[0]:
                token = (await busy.robot.get("/excursions")).json()["known"]["token"]
                if token not in recording.answers:  # else nothing became known by this act: the next one
                    recording.answers[token] = await ask(busy.robot, token)
                    moments.pop(0)
        readings = await asyncio.to_thread(api.services.readings.count)
        told = {"acts": dict(sorted(busy.done.items())), "refused": dict(sorted(busy.refused.items()))}
        entries, rows = api.services.ledger.last_id(), api.services.journal.last()
    return recording, {**told, "readings": readings, "ledger": entries, "journal": rows}


async def asked_again(folder: Path, recording: Recording) -> Recording:
    """The same questions at the same positions, of a collector that has just begun."""
    clock = Clock()
    clock.advance(LATER_S)
    async with api_running(folder, clock=clock) as api:
        client = _client(api)
        return Recording({token: await ask(client, token) for token in recording.answers})


def _client(api: Api) -> httpx.AsyncClient:
    return api.program(name="asked-again")


async def run(folder: Path, *, acts: int, positions: int, seed: int) -> dict[str, Any]:
    """The whole run; `differing` is what it found."""
    began = time.monotonic()
    data = folder / "data"
    first, told = await record(data, acts=acts, positions=positions, seed=seed)
    config = folder / "collector.toml"
    config.write_text(f'[collector]\ndata_dir = "{data}"\n[broker]\nurl = "{NO_BROKER}"\n', encoding="utf-8")
    for path in data.glob(f"{CHUNKS_NAME}*"):
        path.unlink()
    rebuilt = await telomere("collector", "rebuild", "--config", str(config), "--json", timeout_s=120)
    assert rebuilt.code == 0, rebuilt.err + rebuilt.out
    kept, again = folder / "first.json", folder / "again.json"
    kept.write_text(json.dumps(first.answers), encoding="utf-8")
    done = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.oracle.answers", "--again", str(data), str(kept), str(again))
    )
    assert await done.wait() == 0
    second = Recording(json.loads(again.read_text(encoding="utf-8")))
    return {
        "positions": len(first.answers),
        "answers": sum(map(len, first.answers.values())),
        "bytes": first.bytes,
        "differing": first.differing(second),
        "seed": seed,
        **told,
        "rebuilt": json.loads(rebuilt.out),
        "seconds": round(time.monotonic() - began, 1),
    }
