"""Incidents: exceptions with one cause belong together.

Owns what counts as one cause: the same act, link or limit crossing named in the evidence, or silence
at points of one gateway that began within ten minutes. Advisory: grouping resolves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from collector.identity.exceptions.model import ExceptionItem, ExceptionKind, worst_first
from collector.identity.ids import stable_id
from collector.identity.times import NS_PER_S, utc_text

TOGETHER_NS: Final = 10 * 60 * NS_PER_S
_CAUSES: Final = ("event:", "link:", "certificate:", "expectation:")
_OF_A_NODE: Final = frozenset({ExceptionKind.GAP, ExceptionKind.LOSS, ExceptionKind.CLOCK_STEP})


@dataclass(frozen=True, slots=True)
class IncidentGroup:
    """Two or more exceptions with one cause, worst first."""

    cause: str
    items: tuple[ExceptionItem, ...]

    @property
    def id(self) -> str:
        """Of the oldest of them, so that it stays while others join."""
        oldest = min(self.items, key=lambda one: (one.opened_ns, one.id))
        return stable_id("incident", oldest.id)

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "id": self.id,
            "cause": self.cause,
            "kinds": list(dict.fromkeys(one.kind.value for one in self.items)),
            "subjects": list(dict.fromkeys(subject for one in self.items for subject in one.subjects)),
            "exceptions": [one.id for one in self.items],
            "opened": utc_text(min(one.opened_ns for one in self.items)),
            "state": "resolved" if all(one.resolved for one in self.items) else "open",
        }


def grouped(items: Sequence[ExceptionItem]) -> list[IncidentGroup]:
    """Groups of two and more, each exception in at most one, the one with the worst first."""
    each = worst_first(items)
    leader = list(range(len(each)))

    def find(at: int) -> int:
        while leader[at] != at:
            at = leader[at]
        return at

    by_cause: dict[str, int] = {}
    shared: dict[int, str] = {}
    for at, item in enumerate(each):
        for cause in _causes(item):
            first = find(by_cause.setdefault(cause, at))
            if first != find(at):
                leader[find(at)] = first
                shared.setdefault(first, cause)
    for cause, one, other in _silences(each):
        first, second = sorted((find(one), find(other)))
        leader[second] = first
        shared.setdefault(first, cause)
    members: dict[int, list[ExceptionItem]] = {}
    for at, item in enumerate(each):
        members.setdefault(find(at), []).append(item)
    return [
        IncidentGroup(shared.get(first, ""), tuple(group))
        for first, group in members.items()
        if len(group) > 1
    ]


def _causes(item: ExceptionItem) -> Iterable[str]:
    return (one for one in item.evidence if one.startswith(_CAUSES) and " " not in one)


def _silences(each: Sequence[ExceptionItem]) -> Iterable[tuple[str, int, int]]:
    """Neighbours in time among what one gateway brought about."""
    last: dict[str, tuple[int, int]] = {}
    order = sorted(range(len(each)), key=lambda at: each[at].opened_ns)
    for at in order:
        item = each[at]
        if item.kind not in _OF_A_NODE:
            continue
        for node in {_node(subject) for subject in item.subjects} - {""}:
            before = last.get(node)
            if before is not None and item.opened_ns - before[0] <= TOGETHER_NS:
                yield node, before[1], at
            last[node] = (item.opened_ns, at)


def _node(subject: str) -> str:
    kind, _, name = subject.partition(":")
    if kind == "node":
        return subject
    return f"node:{'/'.join(name.split('/')[:2])}" if kind == "point" else ""
