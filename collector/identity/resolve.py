"""Resolution: from a batch over links to equipment and points, each clipped to what all links cover.

Owns the two joins (batch - container - equipment, equipment - location - point) and their short
forms. Readings are selected by this at the time of asking; they are never stamped with a batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from collector.identity.facts import Facts
from collector.identity.links import Link, Role, Source, State
from collector.identity.times import Span, clip, uncovered, union


@dataclass(frozen=True, slots=True)
class Edge:
    """One way from a near to a far identity, over one link or two; `to_ns` None is open."""

    near: str
    far: str
    from_ns: int
    to_ns: int | None
    source: Source
    state: State
    links: tuple[str, ...]
    of: str = ""
    """The parent whose stay it was, for what a batch inherited."""
    probe: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LegPoint:
    """A point whose readings tell what this leg felt, in the spans in which it was linked."""

    point: str
    spans: tuple[Span, ...]
    state: State
    links: tuple[str, ...]
    probe: str = ""
    """`product` or `air`, as the links say; "" where nobody said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """A stay of a batch in one piece of equipment. `to_ns` None is open; `span` ends by then at the
    position's known time. `bare` are the parts of it in which no point was linked.
    """

    equipment: str
    from_ns: int
    to_ns: int | None
    span: Span
    source: Source
    state: State
    links: tuple[str, ...]
    points: tuple[LegPoint, ...]
    bare: tuple[Span, ...]
    of: str = ""
    """The parent whose stay it was before the batch was taken from it; "" for its own."""


def _worse(first: State, second: State) -> State:
    return State.PROVISIONAL if State.PROVISIONAL in (first, second) else State.CONFIRMED


def _earliest_end(first: int | None, second: int | None) -> int | None:
    ends = [end for end in (first, second) if end is not None]
    return min(ends) if ends else None


def _direct(links: Iterable[Link], same: Mapping[str, str]) -> list[Edge]:
    return [
        Edge(
            near=same.get(link.subject, link.subject),
            far=same.get(link.object, link.object),
            from_ns=link.from_ns,
            to_ns=link.to_ns,
            source=link.source,
            state=link.state,
            links=(link.id,),
            probe=link.current.probe,
        )
        for link in links
        if link.to_ns is None or link.to_ns > link.from_ns
    ]


def _joined(firsts: Iterable[Edge], seconds: Mapping[str, Sequence[Edge]]) -> list[Edge]:
    edges: list[Edge] = []
    for first in firsts:
        for second in seconds.get(first.far, ()):
            start = max(first.from_ns, second.from_ns)
            end = _earliest_end(first.to_ns, second.to_ns)
            if end is not None and end <= start:
                continue
            edges.append(
                Edge(
                    near=first.near,
                    far=second.far,
                    from_ns=start,
                    to_ns=end,
                    source=second.source,
                    state=_worse(first.state, second.state),
                    links=first.links + second.links,
                    probe=first.probe,
                )
            )
    return edges


class Resolver:
    """All edges of one `Facts`, by role, worked out once and asked for many batches."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        roles: dict[Role, list[Link]] = {role: [] for role in Role}
        for _, link in sorted(facts.links.items()):
            if link.state is not State.REJECTED:
                roles[link.role].append(link)
        same = facts.same_as
        by_role = {role: _direct(links, same) for role, links in roles.items()}
        batches = by_role[Role.BATCH_EQUIPMENT] + _joined(
            by_role[Role.BATCH_CONTAINER], _by_near(by_role[Role.CONTAINER_EQUIPMENT])
        )
        points = by_role[Role.POINT_EQUIPMENT] + _joined(
            by_role[Role.POINT_LOCATION], _by_near(by_role[Role.LOCATION_EQUIPMENT])
        )
        self._batch_edges = _by_near(batches)
        self._parents: dict[str, list[Link]] = {}
        for link in roles[Role.BATCH_PARENT]:
            self._parents.setdefault(link.subject, []).append(link)
        self._point_edges: dict[str, list[Edge]] = {}
        for edge in points:
            self._point_edges.setdefault(edge.far, []).append(edge)
        self.instrument_links: dict[str, list[Link]] = {}
        for link in roles[Role.INSTRUMENT_POINT]:
            self.instrument_links.setdefault(link.object, []).append(link)
        self.linked_points = frozenset(edge.near for edge in points)
        placed = self.linked_points | {link.subject for link in roles[Role.POINT_LOCATION]}
        at_home = {link.subject for point in placed for link in self.instrument_links.get(point, ())}
        self.placed_points = placed | {
            point
            for point, links in self.instrument_links.items()
            if any(link.subject in at_home for link in links)
        }
        """Also the other points of an instrument that has one in a place: a file of a logger heard live."""

    def points_of(self, equipment: str, span: Span) -> tuple[LegPoint, ...]:
        """Points linked to equipment during a span, by name."""
        found: dict[tuple[str, str], list[tuple[Span, Edge]]] = {}
        for edge in self._point_edges.get(equipment, ()):
            part = clip(edge.from_ns, edge.to_ns, span)
            if part is not None:
                found.setdefault((edge.near, edge.probe), []).append((part, edge))
        return tuple(
            LegPoint(
                point=point,
                spans=union(part for part, _ in parts),
                state=State.PROVISIONAL
                if any(edge.state is State.PROVISIONAL for _, edge in parts)
                else State.CONFIRMED,
                links=tuple(dict.fromkeys(link for _, edge in parts for link in edge.links)),
                probe=probe,
            )
            for (point, probe), parts in sorted(found.items())
        )

    def parents(self, batch: str) -> tuple[Link, ...]:
        """The links by which a batch was taken from others (one: a split, several: a pool)."""
        return tuple(self._parents.get(batch, ()))

    def ancestors(self, batch: str) -> frozenset[str]:
        """Every batch that this one's material comes from."""
        found: set[str] = set()
        waiting = [batch]
        while waiting:
            for link in self._parents.get(waiting.pop(), ()):
                if link.object not in found:
                    found.add(link.object)
                    waiting.append(link.object)
        return frozenset(found)

    def _edges_of(self, batch: str, seen: frozenset[str]) -> list[Edge]:
        """Its own, and those of its parents up to when it was taken from them, each once."""
        edges = list(self._batch_edges.get(batch, ()))
        for link in self._parents.get(batch, ()):
            if link.object in seen:
                continue
            for edge in self._edges_of(link.object, seen | {batch}):
                if edge.from_ns < link.from_ns:
                    end = link.from_ns if edge.to_ns is None else min(edge.to_ns, link.from_ns)
                    state, of = _worse(edge.state, link.state), edge.of or link.object
                    edges.append(replace(edge, to_ns=end, state=state, of=of, links=(*edge.links, link.id)))
        return list({(edge.far, edge.from_ns, edge.to_ns, edge.of): edge for edge in edges}.values())

    def legs(self, batch: str, *, inherited: bool = True) -> tuple[Leg, ...]:
        """Legs of a batch by time, those of its parents before it was taken from them included.

        Open legs end at the known time of the position's last row.
        """
        now = self._facts.position.known_ns
        legs: list[Leg] = []
        edges = self._edges_of(batch, frozenset()) if inherited else self._batch_edges.get(batch, ())
        for edge in _merged(edges):
            end = now if edge.to_ns is None else min(edge.to_ns, now)
            if end <= edge.from_ns:
                continue  # stated for the future: nothing was felt yet
            span = Span(edge.from_ns, end)
            points = self.points_of(edge.far, span)
            legs.append(
                Leg(
                    equipment=edge.far,
                    from_ns=edge.from_ns,
                    to_ns=edge.to_ns,
                    span=span,
                    source=edge.source,
                    state=edge.state,
                    links=edge.links,
                    points=points,
                    bare=uncovered(span, [part for point in points for part in point.spans]),
                    of=edge.of,
                )
            )
        return tuple(legs)


def _by_near(edges: Iterable[Edge]) -> dict[str, list[Edge]]:
    found: dict[str, list[Edge]] = {}
    for edge in edges:
        found.setdefault(edge.near, []).append(edge)
    return found


def _merged(edges: Iterable[Edge]) -> list[Edge]:
    """By time; stays in the same equipment that touch, of the same source and state, become one."""
    merged: list[Edge] = []
    for edge in sorted(edges, key=lambda one: (one.from_ns, one.far, one.links)):
        last = merged[-1] if merged else None
        if (
            last is not None
            and (last.far, last.source, last.state, last.of) == (edge.far, edge.source, edge.state, edge.of)
            and (last.to_ns is None or last.to_ns >= edge.from_ns)
        ):
            ends = (last.to_ns, edge.to_ns)
            merged[-1] = Edge(
                near=last.near,
                far=last.far,
                from_ns=last.from_ns,
                to_ns=None if None in ends else max(end for end in ends if end is not None),
                source=last.source,
                state=last.state,
                links=last.links + edge.links,
                of=last.of,
            )
        else:
            merged.append(edge)
    return merged


def resolve(batch: str, facts: Facts) -> tuple[Leg, ...]:
    """Legs of one batch with their points; for many batches keep a `Resolver`."""
    return Resolver(facts).legs(batch)
