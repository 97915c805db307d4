"""Each slot of a heard point is spoken, told as missed, or in one absence; links and agents come and go.

A sensor has a slot each period and leaves some out. Its messages arrive at once while we listen, else
they wait at the broker in order; a start goes on from what the run before kept.
"""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from edge.model.silence import Heed, Silence

PERIOD_MS = 1000
T0_MS = 1_790_000_000_000


class Ear:
    """What was made of the silence: slots told, absences by their beginning."""

    def __init__(self) -> None:
        self.told: Counter[int] = Counter()
        self.absences: dict[int, int | None] = {}
        self.open: int | None = None

    def note(self, heed: Heed) -> None:
        self.told.update(heed.told)
        if heed.closed_ms is not None and heed.opened_ms is None:
            assert self.open is not None
            self.absences[self.open], self.open = heed.closed_ms, None
        elif heed.opened_ms is not None:
            assert self.open is None
            self.absences[heed.opened_ms] = heed.closed_ms
            self.open = heed.opened_ms if heed.closed_ms is None else None


@settings(max_examples=300, deadline=None)
@given(
    said=st.lists(st.booleans(), min_size=3, max_size=60),
    away=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 25), st.booleans()), max_size=4),
)
def test_every_slot_is_accounted_for_once(said: list[bool], away: list[tuple[int, int, bool]]) -> None:
    """`away` are (slot, slots, restart): while away messages wait; a restart also forgets all but `kept`."""
    heard = [n for n, spoke in enumerate(said) if spoke]
    ear, silence = Ear(), Silence.starting(period_ms=PERIOD_MS, now_ms=T0_MS - PERIOD_MS, mono_ns=-(10**9))
    deaf = {n for first, count, _ in away for n in range(first, first + count)}
    restarts = {first + count for first, count, again in away if again}
    waiting: list[int] = []
    for half in range(2 * (max([len(said), *(n + 1 for n in deaf)]) + 5)):
        n, now_ms = half // 2, T0_MS + half * PERIOD_MS // 2
        mono_ns = (now_ms - T0_MS) * 1_000_000
        if half % 2 == 0 and n in restarts:
            kept, silence = (
                silence.kept(),
                Silence.starting(period_ms=PERIOD_MS, now_ms=now_ms, mono_ns=mono_ns),
            )
            silence.resume(kept, now_ms=now_ms, mono_ns=mono_ns)
        if half % 2 == 0 and n in heard:
            waiting.append(T0_MS + n * PERIOD_MS)
        if n not in deaf:
            for time_ms in waiting:
                ear.note(silence.spoke(time_ms=time_ms, mono_ns=mono_ns, received_ms=now_ms))
            waiting.clear()
        # A moment after the middle between two slots: that is when one is overdue.
        ear.note(silence.passed(mono_ns + 10_000_000, listening=n not in deaf))
    for n in range(len(said)):
        at = T0_MS + n * PERIOD_MS
        covered = sum(a <= at and (b is None or at < b) for a, b in ear.absences.items())
        assert (n in heard) + ear.told[at] + covered == 1, n


def test_times_that_waver_tell_nothing() -> None:
    """A fifth of a period early or late is still the same slot."""
    silence, ear = Silence.starting(period_ms=1000, now_ms=0, mono_ns=0), Ear()
    for time_ms in (1200, 1900, 3150, 3900, 5100):
        ear.note(silence.passed(time_ms * 10**6, listening=True))
        ear.note(silence.spoke(time_ms=time_ms, mono_ns=time_ms * 10**6, received_ms=time_ms))
    assert (ear.told, ear.absences) == (Counter(), {})


def test_a_message_that_comes_again_tells_nothing() -> None:
    """After a crash the broker repeats what was stored already: five old messages, then the next."""
    silence, ear = Silence.starting(period_ms=1000, now_ms=0, mono_ns=0), Ear()
    for time_ms in (1000, 2000, 3000, 4000, 5000, 2000, 3000, 4000, 5000, 6000):
        ear.note(silence.spoke(time_ms=time_ms, mono_ns=time_ms * 10**6, received_ms=6000))
    assert (ear.told, ear.absences) == (Counter(), {})


def test_a_log_played_back_owes_nothing_while_it_pauses() -> None:
    silence = Silence.starting(period_ms=1000, now_ms=10**9, mono_ns=0)
    silence.spoke(time_ms=5000, mono_ns=0, received_ms=10**9)
    assert silence.passed(60 * 10**9, listening=True) == Heed()
