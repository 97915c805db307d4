"""Detectors over points and gateways: readings nobody placed, forks, gaps, limits that differ.

Pure, over facts and plain data of nodes and points.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from collector.identity.exceptions.model import ExceptionItem, ExceptionKind, NodeSeen, PointSeen, exception
from collector.identity.facts import Facts
from collector.identity.resolve import Resolver
from gateway.rules.limits import limits_hash

NO_LIMITS: Final = "-"


def unassigned(facts: Facts, points: Sequence[PointSeen]) -> list[ExceptionItem]:
    """Points with readings that no link places anywhere: kept, and offered for linking."""
    placed = Resolver(facts).placed_points
    return [
        exception(
            ExceptionKind.UNASSIGNED,
            f"point:{seen.point}",
            about=(),
            evidence=(f"readings of {seen.point} are linked to no location and no equipment",),
            opened_ns=seen.known_ns,
            suggested="Link the point to its equipment (role point-equipment).",
        )
        for seen in sorted(points, key=lambda one: one.point)
        if seen.point not in placed
    ]


def forks(nodes: Sequence[NodeSeen]) -> list[ExceptionItem]:
    """One segment number with two contents: a gateway restored from an old image, or tampering."""
    return [
        exception(
            ExceptionKind.FORK,
            node.subject,
            about=(node.epoch, str(number)),
            evidence=(f"segment {node.epoch}/{number} came with two contents; both are kept",),
            opened_ns=node.known_ns,
            suggested="Find out whether the gateway's disk was restored or copied.",
        )
        for node in nodes
        for number in node.forks
    ]


def segment_gaps(nodes: Sequence[NodeSeen]) -> list[ExceptionItem]:
    """Segment numbers that are missing before later ones."""
    return [
        exception(
            ExceptionKind.GAP,
            node.subject,
            about=(node.epoch, str(first)),
            evidence=(f"segments {node.epoch}/{first} to {last} have not arrived",),
            opened_ns=node.known_ns,
            suggested="They come when the gateway re-sends; if not, look at its outbox.",
        )
        for node in nodes
        for first, last in node.gaps
    ]


def limits_differ(facts: Facts, nodes: Sequence[NodeSeen]) -> list[ExceptionItem]:
    """Gateways that evaluate other limits than the registry holds for their points.

    A gateway without limits of its own (`-`) differs from nothing.
    """
    found: list[ExceptionItem] = []
    for node in nodes:
        prefix = f"{node.group}/{node.node}/"
        bound = [rule for rule in facts.latest_rules() if rule.point.startswith(prefix)]
        ours = limits_hash(rule.limit(point=rule.point.removeprefix(prefix)) for rule in bound)
        if node.limits_hash in (None, NO_LIMITS, ours):
            continue
        found.append(
            exception(
                ExceptionKind.LIMITS_DIFFER,
                node.subject,
                about=(str(node.limits_hash), ours),
                evidence=(
                    f"the gateway runs limits {node.limits_hash}, the registry holds {ours}",
                    *(rule.ref for rule in bound),
                ),
                opened_ns=node.known_ns,
                suggested="Give the gateway's [[limit]] the id, version and values of the registered rule.",
            )
        )
    return found
