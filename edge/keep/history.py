"""History: past slots through the same decode and append path as live ones, on a virtual clock.

Owns nothing of its own but the order: full segments a device, its points merged in time order, the
segments of all devices and the events between them in order of time, so that a backlog drains as it
was made. Must not know where the values come from. Blocking: it is meant for tools, not for the loop.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.config import EdgeConfig
from edge.keep.detecting import Detecting
from edge.keep.drafts import Shape, event_draft
from edge.keep.intake import LAST_FLUSH
from edge.model.columns import CODE, Columns, missed
from edge.model.decode import decode_answers
from edge.model.plan import Request
from gateway.contract.events import Event
from gateway.contract.reading import Block, Field, Quality, Reason
from gateway.contract.segment import Clock
from gateway.outbox.model import Draft, PointBinding
from gateway.outbox.store import Outbox

SEGMENTS_PER_APPEND: Final = 200
"""Segments in one transaction: some 3 MB, well below what the other writer waits for."""
BOUND_S: Final = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class PolledHistory:
    """Answers to one request of a device's plan: times_ms i64[n] ascending, registers uint16[n, count].

    Where `missing` bool[n] is set the slot had no answer, for `reason`; its registers are not looked at.
    """

    device: str
    request: Request
    times_ms: NDArray[np.int64]
    registers: NDArray[np.uint16]
    missing: NDArray[np.bool_] | None = None
    reason: Reason = Reason.TIMEOUT


@dataclass(frozen=True, slots=True, eq=False)
class HeardHistory:
    """Readings of one numeric point of a sensor that publishes: value f64[n], NaN for no value."""

    device: str
    name: str
    times_ms: NDArray[np.int64]
    value: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Appended:
    """What a backfill stored."""

    segments: int
    readings: int
    events: int


def backfill(
    *,
    outbox: Outbox,
    config: EdgeConfig,
    keys: Mapping[PointBinding, int],
    polled: Sequence[PolledHistory] = (),
    heard: Sequence[HeardHistory] = (),
    events: Sequence[Event] = (),
    boot_wall_ms: int | None = None,
    detecting: Detecting | None = None,
) -> Appended:
    """Append the past; `keys` as `edge.app.bind` gives them.

    The virtual boot began at `boot_wall_ms` (by default one hour before the first reading): slot k
    of period P lies at boot_wall_ms + k * P. Its id is derived from that and from the gateway's name.
    It leaves what an agent leaves behind: the next start declares for how long none ran. With `detecting`
    the detectors say what they would have said, and remember it.
    """
    by_name = {(binding.device, binding.name): key for binding, key in keys.items()}
    parts: dict[str, list[Columns]] = {}
    for block in polled:
        parts.setdefault(block.device, []).extend(_polled(block, by_name))
    for series in heard:
        parts.setdefault(series.device, []).append(_heard(series, by_name[series.device, series.name]))
    first = min((int(part.time_ms[0]) for some in parts.values() for part in some if len(part)), default=0)
    boot_ms = first - 3_600_000 if boot_wall_ms is None else boot_wall_ms
    boot = _boot_id(config, boot_ms)
    shape = Shape.of(config, keys)
    waiting: list[tuple[int, str, Block | Event]] = []
    for device, some in parts.items():
        waiting.extend((int(cut.time_ms[-1]), device, cut) for cut in shape.cut(some))
    waiting.extend((int(event.time.timestamp() * 1000), "-", event) for event in events)
    waiting.sort(key=lambda item: item[0])
    if detecting is not None:
        blocks = [(device, item) for _, device, item in waiting if isinstance(item, Block)]
        found = detecting.go_over(blocks)
        waiting.extend((int(event.time.timestamp() * 1000), "-", event) for event in found)
        waiting.sort(key=lambda item: item[0])
        events = [*events, *found]
    drafts = (
        shape.draft(device, item, _clock(boot, boot_ms, at))
        if isinstance(item, Block)
        else event_draft(item, _clock(boot, boot_ms, at))
        for at, device, item in waiting
    )
    readings = sum(len(item) for _, _, item in waiting if isinstance(item, Block))
    last = max((at for at, _, _ in waiting), default=None)
    facts = {} if last is None else {LAST_FLUSH: str(_clock(boot, boot_ms, last))}
    _append(outbox, drafts, facts)
    if detecting is not None:
        detecting.checkpoint()(outbox)
    return Appended(segments=len(waiting), readings=readings, events=len(events))


def _append(outbox: Outbox, drafts: Iterable[Draft], facts: Mapping[str, str]) -> None:
    """The facts of the end go with the last append: what was cut short claims no end."""
    held: list[Draft] = []
    for draft in drafts:
        if len(held) >= SEGMENTS_PER_APPEND:
            outbox.append(held)
            held = []
        held.append(draft)
    if held:
        outbox.append(held, facts=facts)


def _polled(block: PolledHistory, keys: Mapping[tuple[str, str], int]) -> list[Columns]:
    mine = {point.name: keys[block.device, point.name] for point in block.request.points}
    there = slice(None) if block.missing is None else ~block.missing
    columns, _ = decode_answers(block.request, block.registers[there], block.times_ms[there], mine)
    if block.missing is not None and block.missing.any():
        times = block.times_ms[block.missing]
        columns += [missed(key=key, times_ms=times.tolist(), reason=block.reason) for key in mine.values()]
    return columns


def _heard(series: HeardHistory, key: int) -> Columns:
    n = len(series.value)
    there = np.isfinite(series.value)
    return Columns(
        key=np.full(n, key, np.uint64),
        time_ms=series.times_ms,
        field=np.where(there, int(Field.DOUBLE), int(Field.NONE)).astype(np.uint8),
        bits=np.where(there, series.value.view(np.uint64), np.uint64(0)),
        quality=np.where(there, int(Quality.GOOD), int(Quality.BAD)).astype(np.uint16),
        reason=np.where(there, 0, CODE[Reason.NO_VALUE]).astype(np.uint16),
    )


def _clock(boot: str, boot_ms: int, at_ms: int) -> Clock:
    return Clock(boot, max(0, at_ms - boot_ms) * 1_000_000, at_ms * 1_000_000, True, BOUND_S)


def _boot_id(config: EdgeConfig, boot_ms: int) -> str:
    """A token of its own for each virtual boot, the same when the same history is made again."""
    name = f"{config.gateway.group}/{config.gateway.node} {boot_ms}"
    return f"virtual-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
