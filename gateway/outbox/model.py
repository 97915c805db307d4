"""What the outbox decides, without a file: settlement, windows, priorities, forecast.

Owns the values that cross the store's door (`PointBinding`, `Draft`, `Stored`, `Settlement`,
`OutboxStatus`) and the pure rules on numbers. Must not know SQLite, a clock or a broker: `store`
carries the decisions out in a transaction, the tests carry them out on a list.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import numpy as np

from gateway.contract.events import EVENT_METRIC
from gateway.contract.receipts import RANGES_MAX, Range, Receipt

if TYPE_CHECKING:
    from gateway.contract.reading import Block, Kind
    from gateway.contract.segment import Clock

ALIAS_MAX: Final = 2**63 - 1
"""Aliases stay below 2**63: keys above are names (see `Block`), and SQLite's integers end there."""
NUMBER_MAX: Final = 2**63 - 1
"""SQLite's largest integer; a receipt may speak of larger numbers, a store never gets there."""
NEVER_LOST: Final = 2**31 - 1
"""Priority of statements about losses and epochs: a full store may lose anything but these."""
SLICES: Final = 128
"""A full store gives up at least this part of its limit at once ..."""
SLICE_BYTES_MIN: Final = 16_384
"""... or so much: dozens of small segments for one statement of some hundred bytes."""
FILL_LEVELS: Final = (50, 80, 95)
"""Per cent of the limit at which a person is told."""
FILL_HYSTERESIS: Final = 5
"""A level is left this many per cent points below it: one crossing is told once."""
_U64: Final = 2**64


class OutboxError(Exception):
    """The store could not do what was asked: what it was doing, where, why, and what to do next.

    `is_full`: for want of room on the disk; the same call may succeed later.
    """

    def __init__(self, *, what: str, where: str, cause: str, hint: str, is_full: bool = False) -> None:
        super().__init__(f"{what} failed at {where}: {cause}. {hint}")
        self.what = what
        self.where = where
        self.cause = cause
        self.hint = hint
        self.is_full = is_full


@dataclass(frozen=True, slots=True)
class PointBinding:
    """What an alias stands for. All but `period_ms` is its identity: a change there mints a new alias."""

    device: str
    name: str
    kind: Kind
    unit: str
    period_ms: int
    profile: str


@dataclass(frozen=True, slots=True)
class Draft:
    """A segment before it has a number. `device` is `-` for the node's own; `priority` lowest goes first.

    `readings` is how many of the metrics count as sampled; by default all that are not events.
    """

    device: str
    block: Block
    clock: Clock
    priority: int = 1
    readings: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A segment as it lies in the store; `body` is what `codec.seal` wraps for sending.

    `place` orders the whole store, over all its epochs; in a store of one epoch it is the number.
    """

    place: int
    epoch: str
    number: int
    device: str
    digest: str
    body: bytes
    size: int
    readings: int
    appended_ns: int
    attempts: int
    parked: bool


@dataclass(frozen=True, slots=True)
class PastEpoch:
    """An epoch that ended: what of it is still kept, and what of that waits for a receipt."""

    epoch: str
    last_number: int
    upto: int
    kept_segments: int
    depth_segments: int
    cause: str


@dataclass(frozen=True, slots=True)
class OutboxStatus:
    """The store in figures. Depth and `bytes` are what is not settled; `bytes_kept` adds what is receipted.

    `oldest_ms` is the first reading's time of the oldest unsettled segment. `readings_sampled` counts
    every reading ever appended, over all epochs. `forecast_full_s`: seconds until `bytes_max` if
    nothing were settled from now on, None while nothing is being appended. `beyond_upto` > 0: a receipt
    spoke of numbers never given here (this store was rolled back); numbers up to it are kept unsettled.
    Depth, bytes, parked and lost are over all epochs. `segments_quarantined` are single segments found
    damaged, `quarantined` whole files. `fill_level`: 0, 50, 80 or 95 per cent passed.
    """

    epoch: str
    last_number: int
    upto: int
    depth_segments: int
    depth_readings: int
    oldest_ms: int | None
    bytes: int
    bytes_kept: int
    bytes_max: int
    parked: int
    quarantined: int
    readings_sampled: int
    readings_sampled_epoch: int
    readings_lost: int
    readings_parked: int
    bd_seq: int | None
    ledger: str | None
    beyond_upto: int
    forecast_full_s: float | None
    segments_lost: int = 0
    segments_quarantined: int = 0
    fill_level: int = 0
    oldest_appended_ns: int | None = None
    past: tuple[PastEpoch, ...] = ()

    @property
    def over_limit(self) -> bool:
        """More is kept than `bytes_max`. Appending goes on: losing readings would be worse."""
        return self.bytes_kept > self.bytes_max


class Reopened(StrEnum):
    """Why settled segments became unsettled again."""

    NEW_LEDGER = "new_ledger"
    UPTO_BACKWARDS = "upto_backwards"
    RANGES_FORGOTTEN = "ranges_forgotten"


class Ignored(StrEnum):
    """Why a receipt settled nothing."""

    OTHER_EPOCH = "other_epoch"
    BEYOND_LAST = "beyond_last_number"


class Refusal(StrEnum):
    """What becomes of a segment that a receipt names as refused."""

    RESEND = "resend"
    WAIT = "wait"
    PARK = "park"


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a receipt did. `settled` are the places it newly settled, as ranges; `newly` counts them.

    `reopened` with `reopened_count`: segments to be sent again. `gone`: numbers that the collector
    lacks and that are no longer kept here. `resend`: places refused for the first time, due at once.
    `parked`: refused again after a re-send. `damaged`: refused, and indeed not what they were when
    they were appended: quarantined and declared lost. `confirmed`: the receipt speaks of the current
    epoch and contradicts nothing that is kept here.
    """

    newly: int = 0
    upto: int = 0
    confirmed: bool = False
    settled: tuple[Range, ...] = ()
    beyond: bool = False
    ignored: Ignored | None = None
    reopened: Reopened | None = None
    reopened_count: int = 0
    gone: int = 0
    resend: tuple[int, ...] = ()
    parked: tuple[int, ...] = ()
    damaged: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Renewal:
    """The epochs of a store: the current one, all that it speaks of, and how many `moved` into a new one.

    Nothing above `sent_place` was ever sent, by no process.
    """

    epoch: str
    epochs: frozenset[str]
    last_place: int
    sent_place: int
    moved: int


@dataclass(frozen=True, slots=True)
class Tended:
    """One round of care: rows pruned, the fill level before and now, all losses so far, the forecast."""

    pruned: int
    level_before: int
    level: int
    segments_lost: int
    readings_lost: int
    full_in_s: float | None
    more: bool = False


@dataclass(frozen=True, slots=True)
class Known:
    """What the store holds of a receipt's epoch. `ledger` is None before the first receipt.

    `sent_number`: none above it was ever sent, None if that is not known. `past`: the epoch has ended.
    `ranges`: those of this ledger's last receipt that named every one. `contradicted`: a witness of the
    receipt has another digest than the segment of that number here.
    """

    epoch: str
    last_number: int
    upto: int
    ledger: str | None
    beyond_upto: int = 0
    sent_number: int | None = None
    past: bool = False
    ranges: tuple[Range, ...] = ()
    contradicted: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do with a receipt: settle `cover`; with a cause in `reopened`, unsettle `uncovered` first."""

    cover: tuple[Range, ...] = ()
    uncovered: tuple[Range, ...] = ()
    reopened: Reopened | None = None
    ignored: Ignored | None = None
    beyond_upto: int = 0


def plan(known: Known, receipt: Receipt) -> Plan:
    """The meaning of a receipt for a store in this state (protocol.md, "Receipts" and "Keep").

    A receipt that speaks of a number never given or never sent from here, or of other content under one
    of ours, means that the file was rolled back: the collector's segments of these numbers are others than
    ours, so neither this receipt nor a later one settles any number up to the highest it spoke of. Of an
    epoch that has ended nothing is doubtful any more: what had no receipt then was given other numbers.
    """
    if receipt.epoch != known.epoch:
        return Plan(ignored=Ignored.OTHER_EPOCH, beyond_upto=known.beyond_upto)
    witnessed = (number for number, _ in receipt.witnesses)
    highest = max([receipt.upto, *(last for _, last in receipt.ranges), *receipt.refused, *witnessed])
    sent = known.last_number if known.sent_number is None else min(known.sent_number, known.last_number)
    if (highest > sent or known.contradicted) and not known.past:
        return Plan(ignored=Ignored.BEYOND_LAST, beyond_upto=max(highest, known.beyond_upto))
    said = union(
        (first, min(last, known.last_number)) for first, last in ((1, receipt.upto), *receipt.ranges)
    )
    refused = union((number, number) for number in receipt.refused)
    reopened, uncovered = _reopening(known, receipt, said, refused)
    return Plan(
        cover=without(said, union([(1, known.beyond_upto), *refused])),
        uncovered=uncovered,
        reopened=reopened,
        beyond_upto=known.beyond_upto,
    )


def _reopening(
    known: Known, receipt: Receipt, said: tuple[Range, ...], refused: tuple[Range, ...]
) -> tuple[Reopened | None, tuple[Range, ...]]:
    """Why the collector lacks what it had, and what is then not vouched for."""
    if known.ledger is not None and receipt.ledger != known.ledger:
        return Reopened.NEW_LEDGER, without(((1, known.last_number),), said)
    if receipt.upto < known.upto:
        return Reopened.UPTO_BACKWARDS, without(((1, known.last_number),), said)
    forgotten = without(without(known.ranges, said), refused) if names_all(receipt) else ()
    return (Reopened.RANGES_FORGOTTEN, forgotten) if forgotten else (None, ())


def names_all(receipt: Receipt) -> bool:
    """Whether it names every range of its epoch: with as many as one can hold there may be more."""
    return len(receipt.ranges) < RANGES_MAX


def on_refusal(*, attempts: int, refused_at: int | None) -> Refusal:
    """Re-send once, then park. `refused_at` is `attempts` at the first refusal, None before it.

    Receipts repeat themselves, so a refusal counts as the second only after a further attempt.
    """
    if refused_at is None:
        return Refusal.RESEND
    return Refusal.PARK if attempts > refused_at else Refusal.WAIT


def union(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """Ascending, disjoint, not touching; empty ranges (last < first) vanish."""
    out: list[Range] = []
    for first, last in sorted(ranges):
        if last < first:
            continue
        if out and first <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(out[-1][1], last))
        else:
            out.append((first, last))
    return tuple(out)


def without(ranges: Sequence[Range], holes: Sequence[Range]) -> tuple[Range, ...]:
    """`ranges` less `holes`; both as `union` gives them."""
    out: list[Range] = []
    for start, last in ranges:
        first = start
        for hole_first, hole_last in holes:
            if hole_last < first or hole_first > last:
                continue
            if hole_first > first:
                out.append((first, hole_first - 1))
            first = hole_last + 1
        if first <= last:
            out.append((first, last))
    return tuple(out)


def size_of(ranges: Iterable[Range]) -> int:
    """How many numbers lie in disjoint ranges."""
    return sum(last - first + 1 for first, last in ranges)


def within(rows: Iterable[Stored], *, bytes_max: int) -> Iterator[Stored]:
    """Rows from the front while their bodies fit `bytes_max`; the first always, however large."""
    left = bytes_max
    for at, row in enumerate(rows):
        left -= row.size
        if at and left < 0:
            return
        yield row


def goes_first(*, settled: bool, priority: int, number: int) -> tuple[bool, int, int]:
    """Sort key for a full store: receipted segments, then the lowest priority, then the oldest."""
    return (not settled, priority, number)


def slice_bytes(bytes_max: int) -> int:
    """How much more than needed a full store gives up at once, so that few statements tell of much."""
    return max(bytes_max // SLICES, min(SLICE_BYTES_MIN, bytes_max // 8))


def fill_level(before: int, fraction: float) -> int:
    """The level reached at this fraction of the limit; it is left only well below."""
    percent = fraction * 100
    reached = max((level for level in FILL_LEVELS if percent >= level), default=0)
    held = max((level for level in FILL_LEVELS if percent >= level - FILL_HYSTERESIS), default=0)
    return max(reached, min(before, held))


def shifted(ranges: Iterable[Range], by: int) -> tuple[Range, ...]:
    """Numbers as places, or back."""
    return tuple((first + by, last + by) for first, last in ranges)


def count_readings(block: Block) -> int:
    """Metrics that count as readings: all but events."""
    if EVENT_METRIC not in block.names:
        return len(block)
    key = np.uint64(-block.names.index(EVENT_METRIC) % _U64)
    return len(block) - int(np.count_nonzero(block.key == key))


def aliases_of(block: Block) -> list[int]:
    """The aliases that this block needs to be read, each once."""
    aliases = block.key[block.key - np.uint64(1) < np.uint64(ALIAS_MAX)]
    return [int(alias) for alias in np.unique(aliases)]


def forecast_full_s(*, bytes_kept: int, bytes_max: int, grown_bytes: int, over_s: float) -> float | None:
    """Seconds until the store is full at the rate of `grown_bytes` in `over_s`; None without growth."""
    if grown_bytes <= 0 or over_s <= 0:
        return None
    return max(0.0, (bytes_max - bytes_kept) * over_s / grown_bytes)
