"""Who had a batch when: hand-overs of two sides, and what one side alone leaves unknown.

Owns the pairing of giving and taking and the chain of custody. Pure. A hand-over that only one side
told is unknown custody, not the other side's word; clocks that disagree make an interval, never
negative time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from collector.identity.times import NS_PER_S, utc_text, utc_text_or_none

CLOCKS_NS: Final = 15 * 60 * NS_PER_S
"""How long before the giving a taking may be told and still be the same hand-over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handed:
    """One side's word: `side` is give or take, `holder` who says so, `other` whom they name."""

    time_ns: int
    side: str
    holder: str
    other: str
    evidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Custody:
    """A stretch of the chain. `holder` is "" where it is unknown or passing; None is open."""

    state: str
    holder: str
    from_ns: int | None
    to_ns: int | None
    evidence: tuple[str, ...]
    why: str = ""
    early: bool = False
    """Taken before it was given: the clocks disagree, and the stretch is an interval."""

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "state": self.state,
            "holder": self.holder or None,
            "from": utc_text_or_none(self.from_ns),
            "to": utc_text_or_none(self.to_ns),
            "evidence": list(self.evidence),
            "why": self.why or None,
        }


def chain(words: Iterable[Handed]) -> list[Custody]:
    """The chain by time. The last stretch is open."""
    sorted_ = sorted(words, key=lambda one: (one.time_ns, one.side, one.evidence))
    out: list[Custody] = []
    holder = ""
    since: int | None = None
    known_by: tuple[str, ...] = ()
    why = "nobody said who had it"
    at = 0
    while at < len(sorted_):
        first = sorted_[at]
        second = _partner(sorted_, at)
        state = "held" if holder else "unknown"
        if second is not None:
            give, take = (first, second) if first.side == "give" else (second, first)
            before = holder or give.holder
            start, end = first.time_ns, second.time_ns
            out.append(_stretch("held", before, since, start, (*known_by, give.evidence)))
            disagree = (
                "" if first is give else f"received {utc_text(start)} before it was given: clocks disagree"
            )
            named = give.other and take.holder and give.other != take.holder
            differs = f"given to {give.other}, taken by {take.holder}" if named else ""
            both = (give.evidence, take.evidence)
            said = "; ".join(text for text in (differs, disagree) if text)
            passing = _stretch("passing", "", start, end, both, why=said)
            out.append(replace(passing, early=first is not give))
            holder, since, known_by, why = take.holder, end, (take.evidence,), ""
            at += 2
            continue
        if first.side == "give":
            before = holder or first.holder
            out.append(_stretch("held", before, since, first.time_ns, (*known_by, first.evidence)))
            holder, since, known_by = "", first.time_ns, (first.evidence,)
            to = f" to {first.other}" if first.other else ""
            why = f"{first.holder} handed it over{to}; nobody confirmed it"
        else:
            told = f"{first.holder} received it; nobody told of handing it over"
            out.append(
                _stretch(
                    "unknown", "", since, first.time_ns, known_by, why=why if state == "unknown" else told
                )
            )
            holder, since, known_by, why = first.holder, first.time_ns, (first.evidence,), ""
        at += 1
    out.append(_stretch("held" if holder else "unknown", holder, since, None, known_by, why=why))
    return out


def _stretch(
    state: str,
    holder: str,
    from_ns: int | None,
    to_ns: int | None,
    evidence: tuple[str, ...],
    *,
    why: str = "",
) -> Custody:
    return Custody(state=state, holder=holder, from_ns=from_ns, to_ns=to_ns, evidence=evidence, why=why)


def _partner(words: Sequence[Handed], at: int) -> Handed | None:
    """The other side's word on the same hand-over: the next one; within the clocks' doubt when early."""
    if at + 1 >= len(words):
        return None
    first, second = words[at], words[at + 1]
    if first.side == second.side:
        return None
    if first.side == "give":
        return second
    after = words[at + 2] if at + 2 < len(words) else None
    answered = after is not None and after.side == "take"  # the giving belongs to a later taking
    return second if second.time_ns - first.time_ns <= CLOCKS_NS and not answered else None
