"""The manifest: its sums are exact, its total is the history's, and a third party counts the same.

The third party has the document and the readings, and none of our code: it lists every slot as an instant
and counts (`recount`).
"""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from collector.identity.ids import Kind
from collector.identity.requests import ProductProfileRequest
from collector.identity.times import NS_PER_S, Span, clip
from collector.judge.columns import Absent, PointFacts
from collector.judge.history import Sources, build_history
from collector.judge.manifest.build import manifest_of
from collector.registry.identities import post_profile
from tests.unit.identity_site import Columns, Site, Store, at, columns, ns

POINTS = ("z/gw/A/temperature", "z/gw/B/temperature", "z/gw/A/humidity")
Document = Mapping[str, Any]
Row = tuple[int, float | None, str]
EVER = 1 << 70


def instant(text: str) -> int:
    """Nanoseconds of an RFC 3339 time."""
    return round(datetime.fromisoformat(text).timestamp() * 1e6) * 1000


def recount(point: Document, rows: Sequence[Row]) -> Iterator[tuple[Document, Counter[str]]]:
    """Each line of a point with the counts that a third party comes to."""
    context = round(point["context_s"] * NS_PER_S)
    frontier = EVER if point["frontier"] is None else instant(point["frontier"])
    absent = [
        (instant(one["from"]), EVER if one["to"] is None else instant(one["to"])) for one in point["absences"]
    ]
    gone = [
        (instant(one["from"]), instant(one["to"])) for one in point["absences"] if one["reason"] == "not_kept"
    ]
    since = [-EVER, *(instant(one["since"]) for one in point["plan"][1:]), EVER]
    for line in point["lines"]:
        start, end, period = instant(line["from"]), instant(line["to"]), round(line["period_s"] * NS_PER_S)
        stretch = next((a, b) for a, b in pairwise(since) if a <= start < b)
        spans = [(instant(one["from"]), instant(one["to"])) for one in point["lines"]]
        first, last = whole(spans, (start, end))
        held = [
            row
            for row in rows
            if stretch[0] <= row[0] < stretch[1] and first - context <= row[0] < last + context
        ]
        found: Counter[str] = Counter()
        for when, state in slots(held, period, start, end):
            silent = state == "missing?"
            late = silent and when >= frontier + 1 and not any(a <= when < b for a, b in absent)
            not_kept = silent and any(a <= when < b for a, b in gone)
            found["k" if not_kept else "l" if late else state[0]] += start <= when < end
        yield line, found


def whole(spans: list[tuple[int, int]], one: tuple[int, int]) -> tuple[int, int]:
    """The lines that touch each other were read together."""
    first, last = one
    for start, end in sorted(spans):
        last = end if start == last else last
    for start, end in sorted(spans, reverse=True):
        first = start if end == first else first
    return first, last


def slots(rows: Sequence[Row], period: int, start: int, end: int) -> Iterator[tuple[Fraction, str]]:
    """Every slot as an instant with its state; `missing?` has no reading."""
    kept: list[tuple[int, int]] = []
    words = ("missing", "faulty", "present")
    for when, value, reason in rows:
        state = 2 if value is not None and not reason else 1 if reason == "range" else 0
        if kept and (when - kept[-1][0]) * 2 < period:
            kept[-1] = (kept[-1][0], max(kept[-1][1], state))
        else:
            kept.append((when, state))
    yield from ((Fraction(when), words[state]) for when, state in kept)
    for (left, _), (right, _) in pairwise(kept):
        count = (2 * (right - left) + period) // (2 * period)
        yield from ((left + Fraction(j * (right - left), count), "missing?") for j in range(1, count))
    reach = (end - start) // period + 60
    if kept:
        yield from ((Fraction(kept[0][0] - k * period), "missing?") for k in range(1, reach))
        yield from ((Fraction(kept[-1][0] + k * period), "missing?") for k in range(1, reach))
    else:
        base = start // period
        yield from ((Fraction((base + k) * period), "missing?") for k in range(-2, reach))


minutes = st.integers(0, 24 * 60)
rows = st.lists(st.tuples(minutes, st.sampled_from(["", "", "", "timeout", "range"])), max_size=40)
plans = st.lists(
    st.tuples(st.integers(1, 23), st.sampled_from([5, 15, 60])), max_size=2, unique_by=lambda one: one[0]
)
stays = st.lists(
    st.tuples(st.sampled_from("AB"), st.integers(0, 20), st.integers(1, 12)), min_size=1, max_size=3
)


def told(drawn: Sequence[tuple[int, str]]) -> list[Row]:
    rows = [(ns(0, minute), None if reason == "timeout" else 5.0, reason) for minute, reason in drawn]
    return sorted(rows, key=lambda row: (row[0], row[2]))


@given(st.lists(rows, min_size=3, max_size=3), plans, stays, st.none() | minutes, st.booleans(), st.randoms())
@settings(max_examples=60, deadline=None)
def test_every_slot_is_counted_once_as_a_third_party_counts(  # noqa: PLR0917 - what is drawn
    drawn: list[list[tuple[int, str]]],
    plan: list[tuple[int, int]],
    stayed: list[tuple[str, int, int]],
    frontier: int | None,
    profiled: bool,
    order: random.Random,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder))
        held = {point: told(one) for point, one in zip(POINTS, drawn, strict=True)}
        sources = sources_of(held, plan, frontier)
        batch = said(site, stayed, order, profiled=profiled)
        facts = site.facts()
        thing = facts.find(Kind.BATCH, batch)
        document = manifest_of(thing, facts, sources=sources, software="x")
        history = build_history(thing, facts, sources=sources, software="x")
        site.close()
    assert document["total"] == {
        "n": history["coverage"]["slots"],
        **{letter: history["coverage"][name] for letter, name in LETTERS.items()},
    }
    summed(document)
    for leg in document["legs"]:
        for parameter in leg["parameters"]:
            for point in parameter["points"]:
                for line, found in recount(point, held[point["point"]]):
                    counts = {letter: found[letter] for letter in "plmfk"}
                    if not parameter["required"]:
                        counts = {"p": 0, "l": 0, "m": 0, "f": 0, "k": 0, "x": found.total()}
                    assert {letter: line[letter] for letter in counts} == counts, line


LETTERS = {
    "p": "present",
    "l": "late_pending",
    "m": "missing",
    "f": "faulty",
    "x": "not_required",
    "u": "unassigned",
    "k": "not_kept",
}


def summed(document: Document) -> None:
    """Lines make points, points and unassigned make legs, legs make the batch; n is the sum of the states."""
    sums: Counter[str] = Counter()
    for leg in document["legs"]:
        lines = [line for parameter in leg["parameters"] for line in parameter["unassigned"]] + leg[
            "unassigned"
        ]
        for parameter in leg["parameters"]:
            for point in parameter["points"]:
                assert added(point["lines"]) == point["total"]
                lines += point["lines"]
        for line in lines:
            assert line["n"] == sum(line[letter] for letter in LETTERS)
            assert sum(line["causes"].values()) in {line["m"], line["m"] + line["k"]} or not line["m"]
        assert added(lines) == leg["total"]
        sums.update(leg["total"])
    assert {key: sums[key] for key in ("n", *LETTERS)} == document["total"]


def added(lines: Sequence[Document]) -> dict[str, int]:
    return {key: sum(line[key] for line in lines) for key in ("n", *LETTERS)}


def sources_of(
    held: Mapping[str, list[Row]], plan: Sequence[tuple[int, int]], frontier: int | None
) -> Sources:
    changes = ((0, 600 * NS_PER_S), *((ns(hour), length * 60 * NS_PER_S) for hour, length in sorted(plan)))
    made: dict[str, Columns] = {point: columns(rows) for point, rows in held.items()}

    def absences(point: str, *, from_ns: int, to_ns: int) -> list[Absent]:
        known = [Absent(ns(3), ns(4), "agent_down"), Absent(ns(22), None, "device_silent")]
        inside = [one for one in known if one.from_ns < to_ns and (one.to_ns is None or one.to_ns > from_ns)]
        return inside if point == POINTS[0] else []

    def unkept(point: str, *, from_ns: int, to_ns: int) -> list[Span]:
        gone = clip(ns(1), ns(3, 30), Span(from_ns, to_ns))
        return [gone] if gone is not None and point == POINTS[1] else []

    return Sources(
        read=Store(made),
        absences=absences,
        unkept=unkept,
        points={
            name: PointFacts(name=name, period_ns=changes[-1][1], changes=changes if plan else ())
            if plan
            else PointFacts(name=name, period_ns=600 * NS_PER_S)
            for name in POINTS
        },
        frontiers={"z/gw": None if frontier is None else ns(0, frontier)},
    )


def said(site: Site, stayed: list[tuple[str, int, int]], order: random.Random, *, profiled: bool) -> str:
    """The site and its stays, told in any order."""
    for name in "AB":
        site.equipment(name)
    body = {"name": "p", "legs": [{"name": "cold", "required": [{"parameter": "temperature"}]}]}
    post_profile(site.registry, "setup", ProductProfileRequest.model_validate(body))
    batch = site.batch("B-1", product_profile="p@1" if profiled else None)
    links = [
        {
            "role": "point-equipment",
            "subject": point,
            "object": f"equipment:{point.split('/')[2]}",
            "from": at(2).isoformat(),
            "to": at(20).isoformat(),
        }
        for point in POINTS
    ] + [
        {
            "role": "batch-equipment",
            "subject": batch,
            "object": f"equipment:{name}",
            "from": at(start).isoformat(),
            "to": at(start + length).isoformat(),
        }
        for name, start, length in stayed
    ]
    order.shuffle(links)
    for link in links:
        site.link(link)
    return batch
