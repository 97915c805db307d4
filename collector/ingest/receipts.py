"""Which receipt is due to which gateway, and what it says.

Pure: time is given, nothing is sent here. Owns the committed numbers of every epoch, the refused ones,
and when a receipt is due: after `COMMITS_MAX` commits or `DELAY_S`, at once on a birth. Receipts are
cumulative and idempotent. Must not know the broker nor the ledger's tables.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from collector.store.numbers import NumberSet
from collector.store.projection import StreamState
from gateway.contract.receipts import (
    RANGES_MAX,
    REFUSED_MAX,
    WITNESS_DIGITS,
    WITNESSES_MAX,
    Range,
    Receipt,
    Witness,
)

COMMITS_MAX: Final = 16
"""A receipt after this many commits: the gateway's window never waits long."""
DELAY_S: Final = 0.2
"""A receipt this long after the first commit that it covers, when there were fewer."""
HOLD_S: Final = 5.0
"""How long a re-sent copy of a refused segment may wait for its check before a receipt goes all the same."""

StreamKey: TypeAlias = tuple[str, str, str]
"""(group, node, epoch)."""


@dataclass(slots=True)
class _Stream:
    numbers: NumberSet = field(default_factory=NumberSet)
    refused: dict[int, None] = field(default_factory=dict)
    """In the order of refusal: the newest must be told."""
    pending: int = 0
    recent: set[int] = field(default_factory=set)
    """Numbers to be told of: with more ranges than one receipt holds, theirs go first."""
    due_at: float | None = None
    hold_id: int = 0
    hold_until: float = 0.0
    top: Witness | None = None
    """The highest number that was here before the gateway's last birth: what it may not know of."""
    doubts: dict[Witness, None] = field(default_factory=dict)
    """What is here beside a number that has other content, or behind which the chain breaks."""

    @property
    def witnesses(self) -> tuple[Witness, ...]:
        found = [*self.doubts][: WITNESSES_MAX - 1]
        return tuple(dict.fromkeys([*([] if self.top is None else [self.top]), *found]))


class ReceiptTracker:
    """One per collector; every method is called on the event loop, `refused_now` from anywhere."""

    def __init__(self, *, host: str, ledger_id: str) -> None:
        self._host = host
        self._ledger_id = ledger_id
        self._streams: dict[StreamKey, _Stream] = {}
        self._due: dict[StreamKey, _Stream] = {}
        """Those with something to tell: looked through after every commit, the others never."""
        self._projected = 0

    def restore(self, states: Iterable[StreamState]) -> None:
        """What an earlier run had committed."""
        for state in states:
            if state.own:
                stream = self._stream((state.group, state.node, state.epoch))
                for first, last in state.numbers.ranges:
                    stream.numbers.add(first, last)
                stream.refused.update(dict.fromkeys(state.refused))

    def restore_number(self, key: StreamKey, number: int, *, refused: bool) -> None:
        """A number of the ledger's tail, in ledger order; nothing becomes due."""
        self._add(self._stream(key), number, refused=refused)

    def restore_settled(self, key: StreamKey, numbers: Range) -> None:
        """Numbers of a loss event in the ledger's tail."""
        self._stream(key).numbers.add(*numbers)

    def tell_all(self, *, now: float) -> None:
        """Every epoch gets a receipt at once: it carries the ledger's id, which is new after a restore, and
        a gateway with nothing to send would not hear of it.
        """
        for key, stream in self._streams.items():
            self._tell(key, stream, now)

    def committed(self, key: StreamKey, number: int, *, now: float, refused: bool = False) -> None:
        """A segment is on the disk (or was there already); `refused`: its content cannot be used."""
        stream = self._stream(key)
        self._add(stream, number, refused=refused)
        stream.pending += 1
        stream.recent.add(number)
        due_at = now if stream.pending >= COMMITS_MAX else now + DELAY_S
        self._tell(key, stream, due_at if stream.due_at is None else min(stream.due_at, due_at))

    def hold(self, key: StreamKey, entry_id: int, *, now: float) -> None:
        """Say nothing to this stream before entry `entry_id` has been checked (a re-sent refused one)."""
        stream = self._stream(key)
        stream.hold_id, stream.hold_until = entry_id, now + HOLD_S

    def born(self, key: StreamKey, *, now: float, top: Witness | None = None) -> None:
        """A birth of this epoch: the receipt is repeated at once. `top` is the highest number before it.

        The gateway may have been rolled back and begin to use numbers a second time: what came before this
        birth is what it has to agree with.
        """
        stream = self._stream(key)
        stream.top = None if top is None else _witness(top)
        self._tell(key, stream, now)

    def witness(self, key: StreamKey, top: Witness | None) -> None:
        """The highest number of this epoch at the start of this collector."""
        self._stream(key).top = None if top is None else _witness(top)

    def doubt(self, key: StreamKey, seen: Witness) -> None:
        """A segment contradicts this one, which was here first: the gateway is to compare its own."""
        self._stream(key).doubts.setdefault(_witness(seen))

    def streams(self) -> list[tuple[StreamKey, tuple[int, ...]]]:
        """Every epoch of which something is known, with its refused numbers."""
        return [(key, tuple(stream.refused)) for key, stream in self._streams.items()]

    def refuse(self, key: StreamKey, number: int, *, now: float) -> None:
        """The content of a committed number is not what its digest says."""
        stream = self._stream(key)
        stream.refused.pop(number, None)
        stream.refused[number] = None
        self._tell(key, stream, now)

    def restored(self, key: StreamKey, number: int, *, now: float) -> None:
        """A refused number has arrived whole."""
        stream = self._stream(key)
        stream.refused.pop(number, None)
        self._tell(key, stream, now)

    def settled(self, key: StreamKey, numbers: Range, *, now: float) -> None:
        """A committed loss event says that these never come: `upto` passes them."""
        stream = self._stream(key)
        stream.numbers.add(*numbers)
        self._tell(key, stream, now)

    def unsettled(self, key: StreamKey, numbers: Range, *, now: float) -> None:
        """The loss event was none: `upto` goes back, so that the gateway sends what it has of them."""
        stream = self._stream(key)
        stream.numbers.remove(*numbers)
        self._tell(key, stream, now)

    def projected(self, cursor: int) -> None:
        """Everything up to this ledger id has been checked."""
        self._projected = cursor

    def knows(self, group: str, node: str) -> bool:
        """Whether this node ever sent a segment or a birth with an epoch: whether it is one of ours."""
        return any(key[:2] == (group, node) for key in self._streams)

    def is_refused(self, key: StreamKey, number: int) -> bool:
        """Whether a copy of this number would be a wanted re-sending."""
        stream = self._streams.get(key)
        return stream is not None and number in stream.refused

    def due(self, now: float) -> list[tuple[str, str, Receipt]]:
        """(group, node, receipt) of everything due; it counts as sent.

        An epoch of which nothing is here is forgotten then: births cost nothing, and names can be made up.
        """
        out = []
        for key, stream in list(self._due.items()):
            ready_at = self._ready_at(stream)
            if ready_at is None or ready_at > now:
                continue
            out += [(key[0], key[1], receipt) for receipt in self._receipts(key, stream)]
            stream.due_at, stream.pending = None, 0
            stream.recent.clear()
            del self._due[key]
            if not stream.numbers.ranges:
                del self._streams[key]
        return out

    def next_due(self) -> float | None:
        """When `due` has something next, None while nothing is pending."""
        times = [at for stream in self._due.values() if (at := self._ready_at(stream)) is not None]
        return min(times, default=None)

    def receipt(self, key: StreamKey) -> Receipt:
        """What is on the disk of this epoch."""
        stream = self._stream(key)
        return self._receipt(key, stream, stream.numbers.beyond(RANGES_MAX))

    def _receipts(self, key: StreamKey, stream: _Stream) -> list[Receipt]:
        """One receipt; several when what has just come lies in more ranges than one can name.

        Each of several is full: fewer ranges than `RANGES_MAX` mean that there are no others.
        """
        numbers = stream.numbers
        if numbers.count_beyond <= RANGES_MAX:
            return [self.receipt(key)]
        upto = numbers.upto
        told = sorted({numbers.around(number) for number in stream.recent if number > upto})
        parts = [told[at : at + RANGES_MAX] for at in range(0, len(told), RANGES_MAX)] or [[]]
        others = numbers.beyond(2 * RANGES_MAX)
        parts[-1] += [one for one in others if one not in parts[-1]][: RANGES_MAX - len(parts[-1])]
        return [self._receipt(key, stream, tuple(sorted(part))) for part in parts]

    def _receipt(self, key: StreamKey, stream: _Stream, ranges: tuple[Range, ...]) -> Receipt:
        refused = tuple(sorted(list(stream.refused)[-REFUSED_MAX:]))
        upto = stream.numbers.upto
        return Receipt(self._host, self._ledger_id, key[2], upto, ranges, refused, stream.witnesses)

    def _stream(self, key: StreamKey) -> _Stream:
        return self._streams.setdefault(key, _Stream())

    def _tell(self, key: StreamKey, stream: _Stream, at: float) -> None:
        stream.due_at = at
        self._due[key] = stream

    def _add(self, stream: _Stream, number: int, *, refused: bool) -> None:
        new = stream.numbers.add(number)
        if not refused:
            stream.refused.pop(number, None)
        elif new:
            stream.refused[number] = None

    def _ready_at(self, stream: _Stream) -> float | None:
        if stream.due_at is None:
            return None
        if stream.hold_id > self._projected:
            return max(stream.due_at, stream.hold_until)
        return stream.due_at


def _witness(of: Witness) -> Witness:
    return of[0], of[1][:WITNESS_DIGITS]
