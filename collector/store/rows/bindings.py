"""Every name that a birth bound, kept in memory and followed: which metric a key of a payload stands for.

Owns the rule by which a metric carried by name finds its binding, and the tables by which whole columns
of aliases find theirs. Must not know payloads. Bindings are only ever added, in known order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from collector.store.projection import Bound, MetricInfo, Projection
from collector.store.rows.columns import RowPoint
from gateway.contract.reading import PointName

DENSE_ALIASES_MAX: Final = 1 << 20
"""A device's aliases lie close together; where they do not, they are searched instead of looked up."""


def binding_at(metrics: Sequence[MetricInfo], entry: int) -> MetricInfo:
    """Of the bindings of one name, oldest first: the newest one born at or before the entry, else the first.

    It does not depend on what was born after that, so a reading never changes its binding.
    """
    found = metrics[0]
    for metric in metrics[1:]:
        if metric.born > entry:
            break
        found = metric
    return found


@dataclass(slots=True)
class Device:
    """The bindings of one device in one epoch: by alias, by name and by a name that stands for an alias."""

    aliases: dict[int, int] = field(default_factory=dict)
    names: dict[str, list[int]] = field(default_factory=dict)
    wires: dict[str, int] = field(default_factory=dict)
    table: tuple[int, NDArray[np.int32]] | None = None

    def lookup(self) -> tuple[int, NDArray[np.int32]] | None:
        """(first alias, binding or -1 by alias from there), None when they lie too far apart."""
        if self.table is None and self.aliases:
            low, high = min(self.aliases), max(self.aliases)
            if high - low >= DENSE_ALIASES_MAX:
                return None
            table = np.full(high - low + 1, -1, np.int32)
            at = np.fromiter(self.aliases, np.int64, len(self.aliases)) - low
            table[at] = np.fromiter(self.aliases.values(), np.int32, len(self.aliases))
            self.table = (low, table)
        return self.table


class Bindings:
    """Follows the projection's metrics. Not safe to use from several threads."""

    def __init__(self, projection: Projection) -> None:
        self._projection = projection
        self._last_mid = 0
        self._devices: dict[tuple[int, str], Device] = {}
        self._points: dict[PointName, int] = {}
        self._metrics: list[MetricInfo] = []
        self._point_of: list[int] = []
        self._by_point: list[list[int]] = []
        self.names: list[PointName] = []
        self.streams: dict[tuple[str, str, str], int] = {}
        self.born: NDArray[np.int64] = np.empty(0, np.int64)
        self.point: NDArray[np.int32] = np.empty(0, np.int32)
        self.unsigned: NDArray[np.bool_] = np.empty(0, np.bool_)

    def follow(self) -> None:
        """Take up what was bound since."""
        fresh = self._projection.bound(after=self._last_mid)
        for bound in fresh:
            self._add(bound)
        if fresh:
            self.born = np.array([metric.born for metric in self._metrics], np.int64)
            self.point = np.array(self._point_of, np.int32)
            self.unsigned = np.array([metric.kind.value == "u64" for metric in self._metrics], np.bool_)

    def device(self, sid: int, device: str) -> Device:
        """The bindings of a device; empty when nothing was declared."""
        return self._devices.get((sid, device)) or Device()

    def named(self, device: Device, name: str, entry: int) -> list[int]:
        """The bindings (one a point) that a metric carried by this name in this entry stands for."""
        out = []
        if name in device.wires:
            out.append(device.wires[name])
        if name in device.names:
            these = device.names[name]
            newest = binding_at([self._metrics[at] for at in these], entry)
            out.append(these[[self._metrics[at].mid for at in these].index(newest.mid)])
        return out if len({self._point_of[at] for at in out}) == len(out) else out[:1]

    def streams_born(self, *, after: int, upto: int) -> set[int]:
        """Streams of which something was bound by an entry in (after, upto]."""
        low, high = np.searchsorted(self.born, (after, upto), side="right").tolist()
        return {metric.sid for metric in self._metrics[low:high]}

    def row_points(self, points: Sequence[int], *, upto: int) -> tuple[RowPoint, ...]:
        """These points as known at `upto`."""
        out = []
        for point in points:
            these = self._by_point[point]
            first = self._metrics[these[0]]
            newest = first
            for at in these[1:]:
                if self._metrics[at].born > upto:
                    break
                newest = self._metrics[at]
            out.append(
                RowPoint(
                    point=self.names[point],
                    kind=newest.kind,
                    unit=newest.unit,
                    period_ms=newest.period_ms,
                    first_period_ms=first.period_ms,
                )
            )
        return tuple(out)

    def _add(self, bound: Bound) -> None:
        metric = bound.metric
        self._last_mid = metric.mid
        self.streams.setdefault((bound.group, bound.node, bound.epoch), metric.sid)
        name = PointName(bound.group, bound.node, metric.device, metric.name)
        point = self._points.setdefault(name, len(self._points))
        if point == len(self.names):
            self.names.append(name)
            self._by_point.append([])
        at = len(self._metrics)
        self._metrics.append(metric)
        self._point_of.append(point)
        self._by_point[point].append(at)
        device = self._devices.setdefault((metric.sid, metric.device), Device())
        device.names.setdefault(metric.name, []).append(at)
        if metric.alias is not None:
            device.aliases[metric.alias] = at
            device.table = None
        if metric.wire is not None:
            device.wires[metric.wire] = at
