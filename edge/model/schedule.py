"""Slots: the due instants of a point on the monotonic clock of one boot.

Slot k of period P is due at k * P (anchor 0 of the boot's monotonic clock); a reading belongs to slot
floor(mono / P). `SlotTrack` remembers the last slot accounted for and says which were missed. Must
not know wall time, devices or why a slot was missed.
"""

from __future__ import annotations

from dataclasses import dataclass


def slot_of(mono_ns: int, period_ns: int) -> int:
    """The slot that an instant belongs to."""
    return mono_ns // period_ns


@dataclass(slots=True)
class SlotTrack:
    """Slots of one request. Every slot is accounted for once: by an answer, or as missed.

    `last` is the last slot accounted for. A new track owes the slot it is born in.
    """

    period_ns: int
    last: int

    @classmethod
    def starting(cls, *, period_ns: int, mono_ns: int) -> SlotTrack:
        """A track whose first slot is the current one."""
        return cls(period_ns, slot_of(mono_ns, period_ns) - 1)

    @property
    def due_ns(self) -> int:
        """When the next slot is due."""
        return (self.last + 1) * self.period_ns

    def answered(self, mono_ns: int) -> range:
        """An answer arrived: the slots before its own that nobody answered."""
        slot = slot_of(mono_ns, self.period_ns)
        missed = range(self.last + 1, slot)
        self.last = max(self.last, slot)
        return missed

    def failed(self, mono_ns: int) -> range:
        """An attempt at the next slot failed, being over at `mono_ns`: the slots missed by that.

        The attempted slot and every slot that is wholly past; the present one is still owed when the
        attempt outlasted its own slot.
        """
        upto = max(self.last + 1, slot_of(mono_ns, self.period_ns) - 1)
        missed = range(self.last + 1, upto + 1)
        self.last = upto
        return missed
