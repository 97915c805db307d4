"""Which batch a reading belongs to, as a label for sinks that want it as a tag.

Owns the labels of every point in time as links have it now, and where two states of the links differ.
Pure. The original stays in the links: a label is a copy, and is written again when it changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from collector.identity.facts import Facts
from collector.identity.ids import Position, local_name
from collector.identity.resolve import Resolver
from collector.store.readings import NS_PER_MS
from collector.store.rows import Rows
from collector.store.sinks.lines import Labels

END_NS: Final = (1 << 63) - 1
"""An open end."""
JOINED_BY: Final = "+"
"""Between the batches of one reading, where links give it several."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """Readings with from <= time < to belong to the batch (or batches) `text`."""

    from_ns: int
    to_ns: int
    text: str


LabelsOf = Mapping[str, Sequence[Labelled]]
"""By full point name, ascending and apart."""


def labels_of(facts: Facts) -> dict[str, tuple[Labelled, ...]]:
    """Of every point that is linked to a batch at any time. Open legs stay open."""
    position = facts.position
    resolver = Resolver(replace(facts, position=Position(position.ledger, position.journal, END_NS)))
    found: dict[str, list[Labelled]] = {}
    for batch in facts.batches:
        for leg in resolver.legs(batch.id):
            for point in leg.points:
                found.setdefault(point.point, []).extend(
                    Labelled(span.from_ns, span.to_ns, local_name(batch.id)) for span in point.spans
                )
    return {point: _apart(parts) for point, parts in sorted(found.items())}


def _apart(parts: Sequence[Labelled]) -> tuple[Labelled, ...]:
    """Cut at every edge; where several hold, their texts are joined; equal neighbours become one."""
    edges = sorted({edge for part in parts for edge in (part.from_ns, part.to_ns)})
    out: list[Labelled] = []
    for start, end in pairwise(edges):
        texts = sorted({part.text for part in parts if part.from_ns <= start and part.to_ns >= end})
        if not texts:
            continue
        text = JOINED_BY.join(texts)
        if out and out[-1].to_ns == start and out[-1].text == text:
            out[-1] = Labelled(out[-1].from_ns, end, text)
        else:
            out.append(Labelled(start, end, text))
    return tuple(out)


def changes(old: LabelsOf, new: LabelsOf) -> Iterator[tuple[str, int, int]]:
    """(point, from, to) of every stretch whose label differs."""
    for point in sorted({*old, *new}):
        before, after = old.get(point, ()), new.get(point, ())
        if tuple(before) == tuple(after):
            continue
        edges = sorted({edge for part in (*before, *after) for edge in (part.from_ns, part.to_ns)})
        start: int | None = None
        for low, high in pairwise(edges):
            if _text_at(before, low) == _text_at(after, low):
                if start is not None:
                    yield point, start, low
                start = None
            elif start is None:
                start = low
            if start is not None and high == edges[-1]:
                yield point, start, high


def _text_at(spans: Sequence[Labelled], time_ns: int) -> str:
    return next((one.text for one in spans if one.from_ns <= time_ns < one.to_ns), "")


def labels_for(rows: Rows, at: NDArray[np.int64], labels: LabelsOf) -> Labels:
    """The label of each of these rows."""
    texts: dict[str, int] = {"": 0}
    out = np.zeros(len(at), np.int32)
    point = rows.point[at]
    for place, one in enumerate(rows.points):
        spans = labels.get(str(one.point))
        here = np.flatnonzero(point == place) if spans else ()
        if not spans or not len(here):
            continue
        time_ns = rows.time_ms[at[here]] * NS_PER_MS
        starts = np.array([span.from_ns for span in spans], np.int64)
        ends = np.array([span.to_ns for span in spans], np.int64)
        numbers = np.array([texts.setdefault(span.text, len(texts)) for span in spans], np.int32)
        which = np.searchsorted(starts, time_ns, side="right") - 1
        inside = (which >= 0) & (time_ns < ends[which])
        out[here[inside]] = numbers[which[inside]]
    return Labels(of=out, texts=tuple(texts))
