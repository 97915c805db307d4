"""A site for judging: equipment whose readings lie in pieces, batches that stayed in it, rules.

Owns what lies in it. Readings have a compressor's cycle, noise, irregular times, gaps and bad answers;
some batches get warm. Pieces are cut and packed by the product's own code and written at once, without
going through segments first (that way is measured by `bench store`); births come through the ledger. Must
not know what is asked.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from collector.flow.project import Projector
from collector.identity.facts import Facts, fold
from collector.identity.ids import Position
from collector.identity.rows import JournalRow, RowKind
from collector.store.chunks import merge
from collector.store.chunks.columns import Columns
from collector.store.chunks.cutting import pieces_of
from collector.store.chunks.file import CHUNKS_NAME, open_for
from collector.store.chunks.grid import grid_of
from collector.store.database import immediate
from collector.store.decoded import SegmentCache
from collector.store.ledger import LEDGER_NAME, Ledger
from collector.store.readings import Form
from deploy.bench.filled import Gateway
from gateway.contract.reading import PointName, Quality

PERIOD_MS: Final = 1_000
BATCHES_A_POINT: Final = 10
WARM_EVERY: Final = 40
"""One batch of so many gets warm and leaves the new limit: 2.5 %."""
BAD_SHARE: Final = 0.002
GAPS_A_BATCH: Final = 4
GAP_S_MAX: Final = 3_600
JITTER_MS: Final = 200
FROM_MS: Final = 1_780_000_000_000 - 1_780_000_000_000 % 86_400_000
NS_PER_MS: Final = 1_000_000
OLD_HIGH: Final = -12.0
NEW_HIGH: Final = -15.0
"""The rule's limit before and after the change (degrees Celsius)."""
DELAY_S: Final = 600.0
HYSTERESIS: Final = 0.5
SEGMENT_READINGS: Final = 500
REASONS: Final = ("", "no_answer")


@dataclass(frozen=True, slots=True)
class Made:
    """A site on disk: its points, and how many readings each batch has."""

    folder: Path
    points: list[PointName]
    batches: int
    readings: int
    warm: int
    ends_ms: NDArray[np.int64]
    """(point, batch of it): where each stay ends; it begins where the one before ended."""
    seconds: float


def make(folder: Path, *, batches: int, readings: int, seed: int = 1) -> Made:
    """Batches of so many readings each, some to a point, one after the other."""
    began = time.monotonic()
    folder.mkdir(parents=True)
    a_point = min(BATCHES_A_POINT, batches)
    ledger = Ledger.open(folder / LEDGER_NAME, now_ns=time.time_ns)
    try:
        gateways = [Gateway(f"gw-{number:03d}", 1, PERIOD_MS) for number in range(-(-batches // a_point))]
        for one in gateways:
            ledger.commit(one.births())
        _project(folder, ledger)
        points = [name for one in gateways for name in one.names]
        ends, warm = _pieces(folder, ledger, points, a_point=a_point, readings=readings, seed=seed)
    finally:
        ledger.close()
    made = len(points) * a_point
    return Made(folder, points, made, readings, warm, ends, time.monotonic() - began)


def _project(folder: Path, ledger: Ledger) -> None:
    projector = Projector(folder / "projection.db", ledger=ledger, cache=SegmentCache(ledger))
    try:
        while projector.step().n:
            pass
    finally:
        projector.close()


def _pieces(
    folder: Path, ledger: Ledger, points: list[PointName], *, a_point: int, readings: int, seed: int
) -> tuple[NDArray[np.int64], int]:
    connection = open_for(folder / CHUNKS_NAME, ledger_id=ledger.id, last_id=ledger.last_id())
    grid = grid_of(PERIOD_MS)
    ends = np.zeros((len(points), a_point), np.int64)
    warm = 0
    try:
        for pid, point in enumerate(points, 1):
            draw = np.random.default_rng((seed, pid))
            these = [
                at for at in range(a_point) if ((pid - 1) * a_point + at) % WARM_EVERY == WARM_EVERY // 2
            ]
            columns, ends[pid - 1] = history(draw, batches=a_point, readings=readings, warm=these)
            warm += len(these)
            with immediate(connection):
                connection.execute(
                    "INSERT INTO point VALUES (?,?,?,?,?,?,?)",
                    (pid, *astuple(point), grid.cell_ms, grid.block_ms),
                )
                merge.insert(connection, pid, pieces_of(columns, grid))
        connection.execute("UPDATE meta SET value = ? WHERE key = 'cursor'", (str(ledger.last_id()),))
    finally:
        connection.close()
    return ends, warm


def history(
    draw: np.random.Generator, *, batches: int, readings: int, warm: Sequence[int]
) -> tuple[Columns, NDArray[np.int64]]:
    """Readings of one freezer over the stays of its batches, some of them warm: columns, ends of stays."""
    n = batches * readings
    step = np.full(n, PERIOD_MS, np.int64)
    at = draw.integers(0, n, GAPS_A_BATCH * batches)
    step[at] += draw.integers(10, GAP_S_MAX, len(at)) * 1000
    slots = FROM_MS + np.cumsum(step)
    time_ms = slots + draw.integers(0, JITTER_MS, n)
    seconds = (slots - FROM_MS) / 1000
    value = -20.0 + 0.6 * np.sin(seconds * (2 * np.pi / 1_200)) + draw.normal(0.0, 0.05, n)
    for batch in warm:
        _warm(draw, value[batch * readings : (batch + 1) * readings])
    bits = np.round(value, 2)
    bad = draw.random(n) < BAD_SHARE
    empty = bad & (draw.random(n) < 0.5)
    bits[bad] = 85.0  # a sentinel, or nothing at all: both are no samples
    bits[empty] = 0.0
    entry = np.ones(n, np.int64)
    columns = Columns(
        time_ms=time_ms,
        form=np.where(empty, int(Form.NONE), int(Form.F64)).astype(np.uint8),
        bits=bits.view(np.uint64),
        quality=np.where(bad, int(Quality.BAD), int(Quality.GOOD)).astype(np.uint16),
        reason=bad.astype(np.uint16),
        epoch=np.zeros(n, np.uint16),
        number=np.arange(n) // SEGMENT_READINGS + 1,
        index=np.arange(n) % SEGMENT_READINGS,
        entry=entry,
        seen=entry,
        reasons=REASONS,
        epochs=(Gateway("", 1).epoch,),
    )
    return columns, time_ms[readings - 1 :: readings] + 1


def _warm(draw: np.random.Generator, value: NDArray[np.float64]) -> None:
    """Two doors left open: one for long, one for less than the delay."""
    n = len(value)
    for length in (min(n // 4, int(draw.integers(1_800, 7_200))), min(n // 8, 500)):
        start = int(draw.integers(0, n - length))
        value[start : start + length] += 7.5 * np.sin(np.linspace(0, np.pi, length))


def rows_of(made: Made) -> Iterator[JournalRow]:
    """What people decided: equipment with its point, batches with their stays, a rule and its change."""
    for number, (kind, subject, body) in enumerate(_decisions(made), 1):
        yield JournalRow(
            id=number,
            known_at_ns=FROM_MS * NS_PER_MS + number,
            actor="setup",
            kind=kind,
            subject=subject,
            body=body,
        )


def _decisions(made: Made) -> Iterator[tuple[str, str, dict[str, object]]]:
    ends = made.ends_ms.tolist()
    for number, point in enumerate(made.points):
        equipment = f"equipment:FRZ-{number:03d}"
        yield RowKind.EQUIPMENT, equipment, {"name": equipment[10:], "kind": "freezer", "exclusive": False}
        yield RowKind.LINK, f"link:p{number}", _link("point-equipment", str(point), equipment, FROM_MS, None)
        start = FROM_MS
        for place, end in enumerate(ends[number]):
            batch = f"batch:bench/B-{number:03d}-{place:02d}"
            yield RowKind.BATCH, batch, {"issuer": "bench", "number": batch[12:], "aliases": []}
            yield RowKind.LINK, f"link:{batch}", _link("batch-equipment", batch, equipment, start, end)
            start = end
    for version, high in ((1, OLD_HIGH), (2, NEW_HIGH)):
        for number, point in enumerate(made.points):
            yield (
                RowKind.RULE,
                f"rule:high-{number:03d}",
                {
                    "id": f"rule:high-{number:03d}",
                    "version": version,
                    "point": str(point),
                    "high": high,
                    "low": None,
                    "delay_s": DELAY_S,
                    "hysteresis": HYSTERESIS,
                    "clear_delay_s": 0.0,
                    "crossing": "conservative",
                    "uncertainty": None,
                },
            )


def _link(role: str, subject: str, object_: str, from_ms: int, to_ms: int | None) -> dict[str, object]:
    return {
        "role": role,
        "subject": subject,
        "object": object_,
        "from_ns": from_ms * NS_PER_MS,
        "to_ns": None if to_ms is None else to_ms * NS_PER_MS,
        "source": "import",
    }


def facts_of(made: Made, *, ledger: int) -> Facts:
    """The identities after the change of rule."""
    rows = list(rows_of(made))
    known_ns = int(made.ends_ms.max()) * NS_PER_MS
    return fold(rows, (), Position(ledger, rows[-1].id, known_ns))
