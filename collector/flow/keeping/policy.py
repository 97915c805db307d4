"""Which archive files may lose their readings now, and why others may not.

Pure but for what it is given. Owns the rules: old enough by two clocks, passed by everybody who follows
the ledger, no hold, and no batch that was there and is not closed for as long as readings are kept. Must
not know how a file is thinned.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from collector.identity.facts import Facts
from collector.identity.resolve import Resolver
from collector.identity.times import NS_PER_MS, utc_text
from collector.registry.holds import Hold
from collector.store.archive.file import Sealed
from collector.store.live import HeldBack


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """Where a batch was, as [from, to); `closed_ns`: when its last stay ended, None while one is open."""

    batch: str
    spans: tuple[tuple[int, int | None], ...]
    closed_ns: int | None

    def needs(self, from_ns: int, to_ns: int, *, before_ns: int) -> bool:
        """Whether it was there in [from, to) and is not closed since before `before_ns`."""
        met = any(start < to_ns and (end is None or end > from_ns) for start, end in self.spans)
        return met and (self.closed_ns is None or self.closed_ns >= before_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What is decided from. `before_ns`: what became known later is kept. `passed`: how far each follower of
    the ledger is, by name.
    """

    before_ns: int
    passed: Mapping[str, int]
    holds: Sequence[Hold]
    stays: Sequence[Stay]

    def why_held(self, file: Sealed, times_ms: tuple[int, int] | None) -> str:
        """Why the file stays whole, empty when its readings may go."""
        behind = sorted(name for name, cursor in self.passed.items() if cursor < file.last)
        if behind:
            return f"{', '.join(behind)} did not read it yet"
        if times_ms is None:
            return ""
        from_ns, to_ns = times_ms[0] * NS_PER_MS, (times_ms[1] + 1) * NS_PER_MS
        held = [hold.id for hold in self.holds if hold.touches(from_ns, to_ns)]
        if held:
            return f"held by {', '.join(held)}"
        needed = [one for one in self.stays if one.needs(from_ns, to_ns, before_ns=self.before_ns)]
        if needed:
            one = needed[0]
            more = f" and {len(needed) - 1} more" if len(needed) > 1 else ""
            since = "is open" if one.closed_ns is None else f"ended {utc_text(one.closed_ns)}"
            return f"{one.batch}{more} was there and {since}"
        return ""


def stays_of(facts: Facts) -> list[Stay]:
    """Every batch that was ever placed."""
    resolver = Resolver(facts)
    out = []
    for batch in facts.batches:
        legs = resolver.legs(batch.id)
        ends = [leg.to_ns for leg in legs]
        closed = [end for end in ends if end is not None]
        if legs:
            out.append(
                Stay(
                    batch=batch.id,
                    spans=tuple((leg.from_ns, leg.to_ns) for leg in legs),
                    closed_ns=max(closed) if len(closed) == len(ends) else None,
                )
            )
    return out


def choose(
    files: Iterable[tuple[Sealed, tuple[int, int] | None]], situation: Situation
) -> tuple[Sealed | None, tuple[HeldBack, ...]]:
    """(the first file whose readings may go, those that are held back)."""
    chosen, held = None, []
    for file, times_ms in files:
        why = situation.why_held(file, times_ms)
        if why:
            held.append(HeldBack(name=file.name, first=file.first, last=file.last, why=why))
        elif chosen is None:
            chosen = file
    return chosen, tuple(held)
