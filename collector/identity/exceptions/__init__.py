"""Exceptions: the kinds, and every detector over identities, acts, links, points and gateways.

What only readings can tell is found where they are judged (`collector.judge`).
"""

from __future__ import annotations

from collections.abc import Sequence

from collector.identity.exceptions.acts import (
    conflicts,
    late_scans,
    overlaps,
    unknown_identities,
    unmatched_scans,
)
from collector.identity.exceptions.labels import old_labels, unreadable_labels
from collector.identity.exceptions.lineage import coi_mixes, open_too_long, unplaced
from collector.identity.exceptions.manual import manual_edits
from collector.identity.exceptions.model import (
    ExceptionItem,
    ExceptionKind,
    Incident,
    NodeSeen,
    PointSeen,
    concerning,
    exception,
    incidents,
    worst_first,
)
from collector.identity.exceptions.nodes import forks, limits_differ, segment_gaps, unassigned
from collector.identity.exceptions.schedule import schedule_findings
from collector.identity.facts import Facts

__all__ = [
    "ExceptionItem",
    "ExceptionKind",
    "Incident",
    "NodeSeen",
    "PointSeen",
    "all_exceptions",
    "concerning",
    "exception",
    "incidents",
    "worst_first",
]


OVER_FACTS = (
    late_scans,
    unknown_identities,
    unmatched_scans,
    conflicts,
    overlaps,
    unreadable_labels,
    old_labels,
    coi_mixes,
    unplaced,
    open_too_long,
    schedule_findings,
    manual_edits,
)
"""Detectors that need nothing but the facts."""


def all_exceptions(
    facts: Facts, *, nodes: Sequence[NodeSeen] = (), points: Sequence[PointSeen] = ()
) -> list[ExceptionItem]:
    """Everything these detectors find at the position of the facts, worst first."""
    return worst_first(
        [
            *(item for detector in OVER_FACTS for item in detector(facts)),
            *unassigned(facts, points),
            *forks(nodes),
            *segment_gaps(nodes),
            *limits_differ(facts, nodes),
        ]
    )
