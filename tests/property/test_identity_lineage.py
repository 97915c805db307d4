"""Splits under any times: what children and parents felt together is what the material felt."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from collector.identity.facts import Facts, fold
from collector.identity.ids import Position
from collector.identity.resolve import Resolver
from collector.identity.rows import JournalRow, RowKind
from collector.identity.times import NS_PER_S, Span, clip, union

MINUTE = 60 * NS_PER_S
END = 1_000
NAMES = ("P", "C", "D")

stays = st.lists(
    st.tuples(st.sampled_from(NAMES), st.integers(0, END), st.integers(1, 300)), min_size=1, max_size=10
)


def link(number: int, role: str, ends: tuple[str, str], minutes: tuple[int, int | None]) -> JournalRow:
    body = {
        "role": role,
        "subject": ends[0],
        "object": ends[1],
        "from_ns": minutes[0] * MINUTE,
        "to_ns": None if minutes[1] is None else minutes[1] * MINUTE,
        "source": "scan",
    }
    subject = f"link:{number}"
    return JournalRow(id=number, known_at_ns=number, actor="a", kind=RowKind.LINK, subject=subject, body=body)


def facts_of(held: list[tuple[str, int, int]], split: int) -> Facts:
    rows = [
        link(1, "batch-parent", ("batch:x/C", "batch:x/P"), (split, None)),
        link(2, "batch-parent", ("batch:x/D", "batch:x/P"), (split, None)),
    ]
    for name, start, length in held:
        ends = (f"batch:x/{name}", f"equipment:E{len(rows) % 3}")
        rows.append(link(len(rows) + 1, "batch-equipment", ends, (start, start + length)))
    return fold(rows, [], Position(0, len(rows), 2 * END * MINUTE))


def felt(facts: Facts, name: str, *, inherited: bool = True) -> tuple[Span, ...]:
    return union(leg.span for leg in Resolver(facts).legs(f"batch:x/{name}", inherited=inherited))


@given(stays, st.integers(0, END))
@settings(max_examples=150, deadline=None)
def test_children_felt_what_the_parent_did_until_the_split_and_then_their_own(
    held: list[tuple[str, int, int]], split: int
) -> None:
    facts = facts_of(held, split)
    before = Span(-1, split * MINUTE)
    parent = [part for span in felt(facts, "P") if (part := clip(span.from_ns, span.to_ns, before))]
    for child in ("C", "D"):
        own = felt(facts, child, inherited=False)
        assert felt(facts, child) == union([*parent, *own])
    assert felt(facts, "P") == felt(facts, "P", inherited=False)


@given(stays, st.integers(0, END))
@settings(max_examples=100, deadline=None)
def test_two_halves_that_stay_together_felt_what_the_whole_did(
    held: list[tuple[str, int, int]], split: int
) -> None:
    """Each stay of the parent is given to both children after the split: their union is the parent's."""
    whole = [("P", start, length) for _, start, length in held]
    parts: list[tuple[str, int, int]] = []
    for _, start, length in whole:
        parts.append(("P", start, length))
        rest = start + length - max(start, split)
        if rest > 0:
            parts += [(child, max(start, split), rest) for child in ("C", "D")]
    facts = facts_of(parts, split)
    assert felt(facts, "C") == felt(facts, "D") == felt(facts_of(whole, split), "P")
