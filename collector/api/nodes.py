"""Gateways and the collector itself: what has arrived, what waits, what could not be read, how it runs.

Owns GET /nodes and /quarantine, and the probes at the root (/healthz, /readyz, /metrics).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from collector.api.known import Seen, ThePage, TheServices, known_document, paged
from collector.api.services import Services, ready_faults
from collector.identity.times import NS_PER_MS, utc_text
from collector.store.ledger import Entry, EntryKind
from collector.store.live import SinkStatus, Tally
from collector.store.projection import NodeView

QUARANTINE_MAX: Final = 1_000
"""The newest are shown; every one stays in the ledger."""


@dataclass(frozen=True, slots=True)
class _SinkFigure:
    name: str
    help: str
    of: Callable[[SinkStatus], float]
    family: type[GaugeMetricFamily | CounterMetricFamily] = GaugeMetricFamily


_SINK_FIGURES: Final = (
    _SinkFigure("lag_entries", "committed, not durably in the sink", lambda one: one.behind_entries),
    _SinkFigure("lag_seconds", "age of the oldest of these", lambda one: one.behind_s),
    _SinkFigure("fault", "1 while the sink cannot be written", lambda one: bool(one.fault)),
    _SinkFigure("refused_readings", "that the sink will not take", lambda one: one.refused),
    _SinkFigure("written_readings", "sent, again too", lambda one: one.written, CounterMetricFamily),
    _SinkFigure("rewinds", "begun again from what is durable", lambda one: one.rewinds, CounterMetricFamily),
)

router = APIRouter()
probes = APIRouter()


@router.get("/nodes")
def nodes(services: TheServices, page: ThePage) -> JSONResponse:
    """Every epoch of every gateway, current ones first."""
    found = services.projection.nodes()
    answer = paged(found, page, name=lambda view: f"{view.group}/{view.node}/{view.epoch}")
    absent = services.projection.told.still_absent()
    answer["items"] = [
        {
            **_node(view, services.ledger.id),
            "absent": [
                {"point": point, "since": utc_text(one.from_ns), "reason": one.reason}
                for point, one in (absent.get((view.group, view.node), ()) if view.current else ())
            ],
        }
        for view in answer["items"]
    ]
    return JSONResponse(answer)


def _node(view: NodeView, ledger: str) -> dict[str, Any]:
    clock = view.clock
    return {
        "group": view.group,
        "node": view.node,
        "epoch": view.epoch,
        "current": view.current,
        "foreign": not view.own,
        "online": view.online,
        "upto": view.upto,
        "gaps": [list(gap) for gap in view.gaps],
        "segments": view.segments,
        "committed_readings": view.readings,
        "events": view.events,
        "repeated": view.repeated,
        "duplicates": view.duplicates,
        "forks": view.forks,
        "declared_lost": {"readings": view.lost_readings, "ranges": [list(numbers) for numbers in view.lost]},
        "refused": list(view.refused),
        "mismatches": view.mismatches,
        "waiting": view.waiting,
        "backlog": view.backlog,
        "backlog_bytes": view.bytes,
        "oldest": None if view.oldest_ms is None else utc_text(view.oldest_ms * NS_PER_MS),
        "frontier": None if view.frontier_ms is None else utc_text(view.frontier_ms * NS_PER_MS),
        "clock": None
        if clock is None
        else {
            "synchronised": clock.synchronised,
            "bound_s": clock.bound_s,
            "boot": clock.boot,
            "steps": view.clock_steps,
        },
        "agent": view.agent,
        "config_hash": view.config_hash,
        "limits_hash": view.limits_hash,
        "last_seen": utc_text(view.last_seen_ns),
        "ledger": ledger,
    }


@router.get("/quarantine")
def quarantine(services: TheServices, known: Seen, page: ThePage) -> JSONResponse:
    """Messages that were kept but could not be used, newest first: unreadable, or of wrong content."""
    unreadable = services.ledger.undecodable(upto=known.ledger, limit=QUARANTINE_MAX)
    wrong = services.projection.told.wrong(upto=known.ledger, limit=QUARANTINE_MAX)
    found = sorted([*unreadable, *wrong], key=lambda entry: -entry.id)[:QUARANTINE_MAX]
    answer = paged(found, page, name=lambda entry: f"ledger:{entry.id}")
    answer["items"] = [_undecodable(entry) for entry in answer["items"]]
    return JSONResponse({**answer, "known": known_document(known)})


def _undecodable(entry: Entry) -> dict[str, Any]:
    return {
        "id": f"ledger:{entry.id}",
        "group": entry.group,
        "node": entry.node,
        "device": entry.device,
        "epoch": entry.epoch,
        "number": entry.number,
        "cause": "unreadable" if entry.kind is EntryKind.UNDECODABLE else "digest",
        "sha256": entry.digest if entry.kind is EntryKind.UNDECODABLE else None,
        "digest": None if entry.kind is EntryKind.UNDECODABLE else entry.digest,
        "received": utc_text(entry.received_ns),
        "known": utc_text(entry.known_ns),
    }


@router.get("/sinks")
def sinks(services: TheServices) -> JSONResponse:
    """How every sink follows the ledger, what it cannot do now, and what it refused."""
    last = services.ledger.last_id()
    return JSONResponse({"items": [_sink(one) for one in services.live.sinks.values()], "ledger": last})


def _sink(status: SinkStatus) -> dict[str, Any]:
    return {
        "name": status.name,
        "kind": status.kind,
        "cursor": status.cursor,
        "sent": status.sent,
        "behind": {"entries": status.behind_entries, "seconds": round(status.behind_s, 3)},
        "written": status.written,
        "refused": status.refused,
        "rewinds": status.rewinds,
        "rewritten": status.rewritten,
        "stale": status.stale,
        "fault": status.fault or None,
        "refusals": list(status.refusals),
    }


# --- probes ---------------------------------------------------------------------------------------


@probes.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@probes.get("/readyz")
async def readyz(services: TheServices) -> JSONResponse:
    """Ready to commit, to receipt and to show, or why not."""
    faults = ready_faults(services)
    status = HTTPStatus.SERVICE_UNAVAILABLE if faults else HTTPStatus.OK
    live = services.live
    warnings = [*services.ledger.archive.faults.values(), live.archive_fault, live.seal_fault]
    return JSONResponse(
        {
            "status": "not ready" if faults else "ready",
            "faults": faults,
            "warnings": [one for one in warnings if one],
        },
        status_code=status,
    )


@probes.get("/metrics")
def metrics(services: TheServices) -> PlainTextResponse:
    """For Prometheus."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures(services))
    return PlainTextResponse(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)


class _Figures:
    """Everything shown on /metrics, read when it is asked for."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterator[Metric]:
        """Prometheus' form of a source."""
        services = self._services
        for tally in Tally:
            total = CounterMetricFamily(
                f"telomere_{tally}", f"{str(tally).replace('_', ' ')} since the start"
            )
            total.add_metric([], services.live.tallies[tally])
            yield total
        yield CounterMetricFamily(
            "telomere_readings_committed", "distinct readings on disk", value=services.readings.count()
        )
        lag = max(0, services.ledger.last_id() - services.follower.cursor)
        yield GaugeMetricFamily("telomere_ledger_entries", "entries on disk", value=services.ledger.last_id())
        yield from _of_archive(services)
        yield GaugeMetricFamily("telomere_projection_lag_entries", "committed, not shown yet", value=lag)
        sealed = max(0, services.follower.cursor - services.live.sealed_upto)
        yield GaugeMetricFamily("telomere_seal_lag_entries", "shown, not sealed yet", value=sealed)
        yield GaugeMetricFamily(
            "telomere_seal_failing", "1 while nothing can be sealed", value=bool(services.live.seal_fault)
        )
        derived = max(0, services.follower.cursor - services.live.findings_upto)
        yield GaugeMetricFamily("telomere_findings_lag_entries", "shown, not in findings yet", value=derived)
        failing = bool(services.live.findings_fault)
        yield GaugeMetricFamily(
            "telomere_findings_failing", "1 while findings cannot be stored", value=failing
        )
        yield GaugeMetricFamily(
            "telomere_broker_connected", "1 while on the broker", value=services.live.broker_connected
        )
        yield from _of_sinks(services.live.sinks.values())
        yield from _of_nodes(view for view in services.projection.nodes() if view.current)


def _of_archive(services: Services) -> Iterator[Metric]:
    files = services.ledger.archived()
    yield GaugeMetricFamily("telomere_ledger_bytes", "size of ledger.db", value=services.ledger.file_bytes())
    yield GaugeMetricFamily(
        "telomere_ledger_archived_upto", "last entry in an archive file", value=files[-1].last if files else 0
    )
    yield GaugeMetricFamily("telomere_archive_files", "archive files there should be", value=len(files))
    yield GaugeMetricFamily(
        "telomere_archive_bytes", "their size on disk", value=sum(one.bytes for one in files)
    )
    yield GaugeMetricFamily(
        "telomere_archive_payload_bytes", "what they hold", value=sum(one.payload_bytes for one in files)
    )
    yield GaugeMetricFamily(
        "telomere_readings_not_kept",
        "readings deleted by a retention",
        value=sum(one.readings for one in services.ledger.removals()),
    )
    yield GaugeMetricFamily(
        "telomere_retention_held_files",
        "old enough to lose their readings, held back",
        value=len(services.live.retention_held),
    )
    faulty = len(services.ledger.archive.faults) + bool(services.live.archive_fault)
    yield GaugeMetricFamily("telomere_archive_faults", "files missing or damaged, work failed", value=faulty)


def _of_sinks(sinks: Iterable[SinkStatus]) -> Iterator[Metric]:
    for sink_figure in _SINK_FIGURES:
        family = sink_figure.family(f"telomere_sink_{sink_figure.name}", sink_figure.help, labels=["sink"])
        for status in sinks:
            family.add_metric([status.name], sink_figure.of(status))
        yield family


def _of_nodes(views: Iterable[NodeView]) -> Iterator[Metric]:
    labels = ["group", "node"]
    depth = GaugeMetricFamily("telomere_node_backlog_segments", "waiting on the gateway", labels=labels)
    gaps = GaugeMetricFamily("telomere_node_missing_segments", "missing before later ones", labels=labels)
    online = GaugeMetricFamily("telomere_node_online", "1 while its birth holds", labels=labels)
    upto = GaugeMetricFamily("telomere_node_upto", "contiguous segments on disk", labels=labels)
    seen = GaugeMetricFamily("telomere_node_last_seen_seconds", "wall time, unix", labels=labels)
    for view in views:
        name = [view.group, view.node]
        if view.backlog is not None:
            depth.add_metric(name, view.backlog)
        gaps.add_metric(name, sum(last - first + 1 for first, last in view.gaps))
        online.add_metric(name, view.online)
        upto.add_metric(name, view.upto)
        seen.add_metric(name, view.last_seen_ns / 1e9)
    yield from (depth, gaps, online, upto, seen)
