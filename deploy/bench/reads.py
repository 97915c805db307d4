"""How long answers take, over a month at 1 Hz: a day, a trend, the latest of thousands, a day as known then.

Owns the questions, that each answer is whole, and the timing: warm (median and 95th percentile of many
runs in one open store) and cold (store opened anew, its files dropped from the page cache). Asked of the
store itself, in this process, as the API asks it.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from collector.flow.project import Projector
from collector.store.chunks.file import CHUNKS_NAME, ChunkReading
from collector.store.chunks.readings import ChunkReadings
from collector.store.chunks.seal import Sealer
from collector.store.chunks.tail import Tail
from collector.store.decoded import SegmentCache
from collector.store.ledger import LEDGER_NAME, Ledger
from collector.store.live import LiveBoard
from collector.store.projection import Projection
from collector.store.readings import ReadingStore
from collector.store.served import LedgerReadings
from deploy.bench.filled import DAY_S, HOUR_S, History
from deploy.bench.rebuild import archive

WARM_RUNS: Final = 41
COLD_RUNS: Final = 5
WARM_S_MAX: Final = 8.0
"""A question that takes long is asked fewer times."""
TREND_BUCKETS: Final = 1_000
NS_PER_S: Final = 1_000_000_000


@dataclass
class Opened:
    """The stores of a data folder, without a collector."""

    folder: Path

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        self.ledger = Ledger.open(self.folder / LEDGER_NAME, now_ns=time.time_ns)
        self._stack.callback(self.ledger.close)
        self.cache = SegmentCache(self.ledger)
        self.projection = Projection(self.folder / "projection.db", ledger=self.ledger, live=LiveBoard())
        self._stack.callback(self.projection.close)
        self.chunks = ChunkReading(self.folder / CHUNKS_NAME)
        self._stack.callback(self.chunks.close)
        self.tail = Tail(ledger=self.ledger, projection=self.projection)
        self.readings: ReadingStore = ChunkReadings(
            chunks=self.chunks,
            tail=self.tail,
            ledger=LedgerReadings(ledger=self.ledger, projection=self.projection, cache=self.cache),
            projection=self.projection,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def project(self) -> float:
        """Everything that is committed; seconds."""
        began = time.monotonic()
        projector = Projector(self.folder / "projection.db", ledger=self.ledger, cache=self.cache)
        try:
            while projector.step().n:
                pass
        finally:
            projector.close()
        return time.monotonic() - began

    def seal(self) -> float:
        """Everything that is projected, pieces merged as far as it pays; seconds."""
        began = time.monotonic()
        sealer = Sealer(self.folder / CHUNKS_NAME, ledger=self.ledger, projection=self.projection)
        try:
            while sealer.step().entries:
                pass
            while sealer.untidy:
                sealer.tidy()
        finally:
            sealer.close()
        return time.monotonic() - began

    def archive(self) -> int:
        """All payloads into archive files; their bytes."""
        found = archive(self.ledger, self.folder / LEDGER_NAME, upto=self.ledger.last_id())
        return int(found["bytes"])


@dataclass(frozen=True, slots=True)
class Question:
    """Something asked of the store; `ask` returns how much came, which must be `wanted`."""

    name: str
    ask: Callable[[ReadingStore], int]
    wanted: int


def questions(history: History) -> list[Question]:
    """The four of the figures, under their names."""
    point = history.points[0]
    from_ns = history.from_ms * 1_000_000
    day_ns = from_ns + history.late_day * DAY_S * NS_PER_S
    day = (day_ns, day_ns + DAY_S * NS_PER_S)
    end_ns = from_ns + history.days * DAY_S * NS_PER_S

    def day_read(store: ReadingStore) -> int:
        return len(store.read(point, from_ns=day[0], to_ns=day[1]))

    def trend(store: ReadingStore) -> int:
        found = store.buckets(point, from_ns=from_ns, to_ns=end_ns, max_points=TREND_BUCKETS)
        return sum(one.n for one in found) if len(found) <= TREND_BUCKETS else 0

    def latest(store: ReadingStore) -> int:
        found = store.latest()
        return sum(name in found for name in history.many)

    def as_known_at(store: ReadingStore) -> int:
        return len(store.read(point, from_ns=day[0], to_ns=day[1], upto=history.before_late))

    return [
        Question("day_read_ms", day_read, DAY_S),
        Question("trend_30d_ms", trend, history.days * DAY_S),
        Question(f"latest_{len(history.many)}_ms", latest, len(history.many)),
        Question("as_known_at_ms", as_known_at, DAY_S - HOUR_S),
    ]


def measure(folder: Path, asked: Sequence[Question]) -> dict[str, dict[str, Any]]:
    """Milliseconds by question."""
    out = {}
    for question in asked:
        cold = [_cold(folder, question) for _ in range(COLD_RUNS)]
        with Opened(folder) as opened:
            _timed(opened.readings, question)
            warm: list[float] = []
            began = time.monotonic()
            while len(warm) < WARM_RUNS and (len(warm) < COLD_RUNS or time.monotonic() - began < WARM_S_MAX):
                warm.append(_timed(opened.readings, question))
        out[question.name] = {
            "median": round(statistics.median(warm), 3),
            "p95": round(sorted(warm)[int(len(warm) * 0.95)], 3),
            "runs": len(warm),
            "cold_median": round(statistics.median(cold), 3),
            "answer": question.wanted,
        }
    return out


def _cold(folder: Path, question: Question) -> float:
    for path in folder.iterdir():
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    with Opened(folder) as opened:
        return _timed(opened.readings, question)


def _timed(store: ReadingStore, question: Question) -> float:
    began = time.perf_counter()
    got = question.ask(store)
    took = (time.perf_counter() - began) * 1000
    if got != question.wanted:
        raise AssertionError(f"{question.name}: the answer holds {got} readings, not {question.wanted}")
    return took
