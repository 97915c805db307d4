"""Identity under any order: what is in force does not depend on how news arrived, nor on later news."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from collector.identity.facts import Facts, fold
from collector.identity.ids import Position
from collector.identity.resolve import resolve
from collector.identity.rows import JournalRow, RowKind, ScanAct
from collector.identity.times import NS_PER_S

MINUTE = 60 * NS_PER_S
BATCHES = ("B-1", "B-2")
PLACES = ("BR-01", "FRZ-01", "UNKNOWN")
SETUP = [
    JournalRow(
        id=0,
        known_at_ns=0,
        actor="s",
        kind=RowKind.BATCH,
        subject=f"batch:x/{number}",
        body={"issuer": "x", "number": number},
    )
    for number in BATCHES
] + [
    JournalRow(
        id=0,
        known_at_ns=0,
        actor="s",
        kind=RowKind.EQUIPMENT,
        subject=f"equipment:{name}",
        body={"name": name},
    )
    for name in PLACES[:2]
]

acts = st.lists(
    st.builds(
        lambda act, batch, equipment, time, late: ScanAct(
            event_id="",
            act=act,
            batch=batch,
            equipment=equipment,
            time_ns=(time + late) * MINUTE,
            effective_ns=time * MINUTE if late else None,
            known_ns=0,
        ),
        st.sampled_from(["put_in", "take_out", "move"]),
        st.sampled_from(BATCHES),
        st.sampled_from(PLACES),
        st.integers(0, 1000),
        st.sampled_from([0, 0, 5, 60]),
    ),
    max_size=12,
).map(lambda made: [replace(act, event_id=f"e{i}") for i, act in enumerate(made)])


def amendments(draw: st.DrawFn, count: int) -> list[JournalRow]:
    """Chains of corrections and decisions on the links of the first acts."""
    rows: list[JournalRow] = []
    for number in range(count):
        for kind in draw(
            st.lists(
                st.sampled_from([RowKind.LINK_CORRECTION, RowKind.LINK_CONFIRMATION, RowKind.LINK_REJECTION]),
                max_size=3,
            )
        ):
            body = {}
            if kind is RowKind.LINK_CORRECTION:
                body = draw(
                    st.fixed_dictionaries(
                        {},
                        optional={
                            "from_ns": st.integers(0, 1000).map(lambda minute: minute * MINUTE),
                            "object": st.sampled_from(["equipment:BR-01", "equipment:FRZ-01"]),
                            "to_ns": st.integers(1001, 2000).map(lambda minute: minute * MINUTE),
                        },
                    )
                )
            rows.append(
                JournalRow(
                    id=0, known_at_ns=0, actor="qa", kind=kind, subject=f"link:scan-e{number}", body=body
                )
            )
    return rows


def numbered(rows: list[JournalRow]) -> list[JournalRow]:
    """As the journal would commit them in this order."""
    return [replace(row, id=i + 1, known_at_ns=i + 1) for i, row in enumerate(rows)]


def arrived(made: list[ScanAct]) -> list[ScanAct]:
    return [replace(act, ledger=i + 1, known_ns=i + 1) for i, act in enumerate(made)]


def in_force(facts: Facts) -> object:
    """What people would see, without when it became known."""
    links = {
        link.id: (link.subject, link.object, link.from_ns, link.to_ns, link.state, link.ended_by)
        for link in facts.links.values()
    }
    legs = {batch.id: resolve(batch.id, facts) for batch in facts.batches}
    problems = sorted((problem.act.event_id, problem.scanned) for problem in facts.problems)
    return links, legs, problems, sorted(out.act.event_id for out in facts.unmatched)


@st.composite
def stories(draw: st.DrawFn) -> tuple[list[ScanAct], list[JournalRow], list[ScanAct], list[JournalRow]]:
    """Acts and rows in two orders; rows of one subject keep their order among themselves."""
    made = draw(acts)
    rows = [*SETUP, *amendments(draw, len(made))]
    shuffled_acts = draw(st.permutations(made))
    lanes: dict[str, list[JournalRow]] = {}
    for row in rows:
        lanes.setdefault(row.subject, []).append(row)
    order = draw(st.permutations([row.subject for row in rows]))
    iterators = {subject: iter(lane) for subject, lane in lanes.items()}
    return made, rows, list(shuffled_acts), [next(iterators[subject]) for subject in order]


END = Position(10**6, 10**6, 3000 * MINUTE)


@given(stories())
@settings(max_examples=150, deadline=None)
def test_any_order_of_arrival_gives_the_same_facts(
    story: tuple[list[ScanAct], list[JournalRow], list[ScanAct], list[JournalRow]],
) -> None:
    made, rows, other_acts, other_rows = story
    first = fold(numbered(rows), arrived(made), END)
    second = fold(numbered(other_rows), arrived(other_acts), END)
    assert in_force(first) == in_force(second)


@given(stories(), st.data())
@settings(max_examples=100, deadline=None)
def test_a_view_of_then_is_not_changed_by_what_comes_later(
    story: tuple[list[ScanAct], list[JournalRow], list[ScanAct], list[JournalRow]], data: st.DataObject
) -> None:
    made, rows, _, _ = story
    ledger = data.draw(st.integers(0, len(made)))
    journal = data.draw(st.integers(0, len(rows)))
    then = Position(ledger, journal, 2500 * MINUTE)
    before = fold(numbered(rows)[:journal], arrived(made)[:ledger], then)
    assert fold(numbered(rows), arrived(made), then) == before


@given(stories())
@settings(max_examples=100, deadline=None)
def test_acts_that_came_twice_count_once(
    story: tuple[list[ScanAct], list[JournalRow], list[ScanAct], list[JournalRow]],
) -> None:
    made, rows, _, _ = story
    once = fold(numbered(rows), arrived(made), END)
    again = [replace(act, ledger=act.ledger + 1000, known_ns=act.known_ns + 1000) for act in arrived(made)]
    assert fold(numbered(rows), [*again, *arrived(made)], END) == once


@given(stories())
@settings(max_examples=100, deadline=None)
def test_acts_alone_never_put_one_batch_in_two_places(
    story: tuple[list[ScanAct], list[JournalRow], list[ScanAct], list[JournalRow]],
) -> None:
    made, _, _, _ = story
    facts = fold(numbered(list(SETUP)), arrived(made), END)
    for batch in facts.batches:
        legs = resolve(batch.id, facts)
        assert all(one.span.to_ns <= two.span.from_ns for one, two in pairwise(legs))
