"""Absence: which slots of a device become readings without value, and which lie in one declared absence.

Owns the tracks of all requests of one device: every due slot is answered, told as missed, or folded
into [from, to) by its due instant, and exactly one of these. Pure: the caller says when. Must not
know wall time, why a slot was missed, nor how an absence is declared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from edge.model.schedule import SlotTrack, slot_of

TOLD_MAX: Final = 3
"""Missed slots in a row that are told one by one; after them the device is absent (protocol, "Absence")."""
DISK_FULL: Final = "disk_full"
"""Reason of an absence: the outbox takes nothing, and nothing more can be held in memory."""
LATE_SLOTS_MAX: Final = 60
"""A device that does answer, only late, is not absent: so many slots are told one by one before that."""


@dataclass(slots=True)
class Outcome:
    """What an attempt changed: slots to tell as missed, by request, and absences.

    `opened_ns` and `closed_ns` are the ends of the device's absence, due instants on the monotonic clock;
    `over` are (request, from, to) of single requests that were overtaken and are being answered again.
    """

    told: list[tuple[int, range]] = field(default_factory=list)
    over: list[tuple[int, int, int]] = field(default_factory=list)
    opened_ns: int | None = None
    closed_ns: int | None = None


class DeviceSlots:
    """The slots of one device's requests. While absent nothing is told; a probe may ask at any slot.

    Misses count towards an absence only for requests that have answered since the device's return,
    or when none has: one register block that never answers makes no device absent.
    """

    def __init__(self, tracks: Sequence[SlotTrack]) -> None:
        self.tracks = tuple(tracks)
        self._misses = [0] * len(self.tracks)
        self._proven: set[int] = set()
        self._from_ns: int | None = None
        self._probed = -1

    @property
    def absent(self) -> bool:
        """Whether slots are being folded."""
        return self._from_ns is not None

    def due(self) -> tuple[int, int]:
        """The request whose slot is due next, and when; while absent, when a probe is of use at all."""
        if self._from_ns is not None:
            return self._probe(self._from_ns), self._from_ns
        at = min(range(len(self.tracks)), key=lambda i: self.tracks[i].due_ns)
        return at, self.tracks[at].due_ns

    def probe(self, mono_ns: int) -> int:
        """The request to ask an absent device at this instant: each in turn, of those that owe a slot."""
        self._probed = self._probe(mono_ns)
        return self._probed

    def _probe(self, mono_ns: int) -> int:
        count = len(self.tracks)
        turns = ((self._probed + 1 + i) % count for i in range(count))
        return next((i for i in turns if self._slot_ns(i, mono_ns) >= (self._from_ns or 0)), 0)

    def _slot_ns(self, request: int, mono_ns: int) -> int:
        """When the slot of this instant was due."""
        period_ns = self.tracks[request].period_ns
        return slot_of(mono_ns, period_ns) * period_ns

    def split(self, request: int) -> None:
        """This request is two from now on; both owe what it owed."""
        track = self.tracks[request]
        twin = SlotTrack(track.period_ns, track.last)
        self.tracks = (*self.tracks[: request + 1], twin, *self.tracks[request + 1 :])
        self._misses.insert(request + 1, self._misses[request])
        moved = {at + 1 if at > request else at for at in self._proven}
        self._proven = moved | {request + 1} if request in moved else moved

    # -- what happened

    def answered(self, request: int, mono_ns: int) -> Outcome:
        """A usable answer arrived: it belongs to the slot of its arrival."""
        if self._from_ns is not None:
            return Outcome(closed_ns=self._leave(self._slot_ns(request, mono_ns), request))
        self._alive(request)
        return self._late(request, self.tracks[request].answered(mono_ns))

    def refused(self, request: int, mono_ns: int) -> Outcome:
        """The device answered that it cannot (a Modbus exception): a missed slot, and a sign of life."""
        if self._from_ns is not None:
            slot = slot_of(mono_ns, self.tracks[request].period_ns)
            closed_ns = self._leave(self._slot_ns(request, mono_ns), request)
            return Outcome([(request, range(slot, slot + 1))], closed_ns=closed_ns)
        self._alive(request)
        return self._late(request, self.tracks[request].failed(mono_ns))

    def failed(self, request: int, mono_ns: int) -> Outcome:
        """No answer came, or nothing was asked: missed slots, the third in a row makes the device absent."""
        if self._from_ns is not None:
            return Outcome()
        track = self.tracks[request]
        missed = track.failed(mono_ns)
        before = self._misses[request]
        self._misses[request] += len(missed)
        if self._proven and request not in self._proven:
            return self._late(request, missed)
        if self._misses[request] < TOLD_MAX:
            return Outcome([(request, missed)])
        return self._fold(request, missed, max(0, TOLD_MAX - before))

    def held_up(self) -> Outcome:
        """Nothing can be stored: from the next slot on all are folded."""
        outcome = Outcome()
        if self._from_ns is None:
            self._enter(outcome)
        return outcome

    def released(self, mono_ns: int) -> Outcome:
        """Slots are owed again from the first one after this instant on."""
        if self._from_ns is None:
            return Outcome()
        after = min((slot_of(mono_ns, t.period_ns) + 1) * t.period_ns for t in self.tracks)
        return Outcome(closed_ns=self._leave(max(after, self._from_ns), None))

    def known(self, mono_ns: int) -> list[int]:
        """The last slot accounted for, by request, when everything up to this instant is on disk."""
        if self._from_ns is None:
            return [track.last for track in self.tracks]
        return [max(track.last, slot_of(mono_ns, track.period_ns)) for track in self.tracks]

    # -- folding

    def _alive(self, request: int) -> None:
        self._misses = [0] * len(self.tracks)
        self._proven.add(request)

    def _late(self, request: int, missed: range) -> Outcome:
        """Missed slots of a device that lives."""
        outcome = Outcome()
        self._tell(outcome, request, missed)
        return outcome

    def _tell(self, outcome: Outcome, request: int, missed: range) -> None:
        """Told one by one, unless there are very many."""
        told = missed if len(missed) <= LATE_SLOTS_MAX else missed[:TOLD_MAX]
        if told:
            outcome.told.append((request, told))
        if told != missed:
            period_ns = self.tracks[request].period_ns
            outcome.over.append((request, told.stop * period_ns, missed.stop * period_ns))

    def _fold(self, request: int, missed: range, room: int) -> Outcome:
        """Tell the first `room` of these slots; the device is absent from then on."""
        outcome = Outcome()
        self._tell(outcome, request, missed[:room])
        self.tracks[request].last = missed.start + min(room, len(missed)) - 1
        self._enter(outcome)
        return outcome

    def _enter(self, outcome: Outcome) -> None:
        """Slots due no later than the last one accounted for are told; `from` is the next one due."""
        upto_ns = max(track.last * track.period_ns for track in self.tracks)
        for at, track in enumerate(self.tracks):
            owed = range(track.last + 1, slot_of(upto_ns, track.period_ns) + 1)
            self._tell(outcome, at, owed)
            track.last = max([track.last, *owed[-1:]])
        self._from_ns = outcome.opened_ns = min(track.due_ns for track in self.tracks)

    def _leave(self, to_ns: int, request: int | None) -> int:
        """Slots due before `to` are folded, all others owed; `request` has given its slot."""
        for track in self.tracks:
            track.last = max(track.last, -(-to_ns // track.period_ns) - 1)
        if request is not None:
            self.tracks[request].last = max(
                self.tracks[request].last, to_ns // self.tracks[request].period_ns
            )
        self._misses = [0] * len(self.tracks)
        self._proven = set() if request is None else {request}
        self._from_ns = None
        return to_ns
