"""Readings of a file as entries of the ledger: births and segments of a stream of their own.

Owns the stream of an import: group `import`, the logger as the node, an epoch made of the file's hash,
so that chunks, judging and sinks need no second way. Its clock is a statement on the logger's: never
synchronised, with the bound that whoever imported it gave. Pure. Must not know the file's form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from collector.imports.mapping import Series
from collector.store.ledger.entries import Draft, EntryKind
from gateway.contract import births, codec
from gateway.contract.births import MetricBirth
from gateway.contract.blocks import split
from gateway.contract.reading import NODE_DEVICE, Block, Kind, Quality, Reading, Reason, block_of
from gateway.contract.segment import NO_PREVIOUS, Clock, SegmentId, digest
from gateway.contract.topics import IMPORT_GROUP

DEVICE: Final = "logger"
READINGS_MAX: Final = 500
BYTES_MAX: Final = 15_000
"""Of one segment, as gateways cut them."""


def point_name(logger: str, column: str) -> str:
    """The full name of a column's point."""
    return f"{IMPORT_GROUP}/{logger}/{DEVICE}/{column}"


def file_draft(content: bytes, *, logger: str, sha256: str, received_ns: int) -> Draft:
    """The file itself, as received: an original like a gateway's payload."""
    return Draft(
        kind=EntryKind.FILE,
        group=IMPORT_GROUP,
        node=logger or NODE_DEVICE,
        device=NODE_DEVICE,
        payload=content,
        received_ns=received_ns,
        digest=sha256,
    )


def withdrawal_draft(told: bytes, *, logger: str, epoch: str, received_ns: int) -> Draft:
    """From this entry on the stream of that epoch gives no readings; `told` says who and why."""
    return Draft(
        kind=EntryKind.WITHDRAWAL,
        group=IMPORT_GROUP,
        node=logger,
        device=NODE_DEVICE,
        payload=told,
        received_ns=received_ns,
        epoch=epoch,
    )


def stream_drafts(
    series: Sequence[Series], *, logger: str, epoch: str, bound_s: float | None, received_ns: int
) -> list[Draft]:
    """Births, segments and a death: what a gateway that had kept these readings would send."""
    sent_ms = received_ns // 1_000_000

    def message(kind: EntryKind, payload: bytes, *, device: str = NODE_DEVICE) -> Draft:
        born = kind is not EntryKind.NDEATH
        return Draft(
            kind=kind,
            group=IMPORT_GROUP,
            node=logger,
            device=device,
            payload=payload,
            received_ns=received_ns,
            epoch=epoch if born else None,
        )

    node_birth = births.encode_nbirth(
        epoch=epoch,
        bd_seq=0,
        agent_version="import",
        config_hash=epoch,
        limits_hash="",
        depth=0,
        oldest_ms=None,
        bytes_=0,
        sent_ms=sent_ms,
    )
    metrics = [
        MetricBirth(
            name=one.column.name,
            kind=Kind.F64,
            alias=alias,
            unit=one.column.unit,
            period_ms=one.period_ms,
            profile=f"import@1 {epoch}",
            time_ms=sent_ms,
        )
        for alias, one in enumerate(series, start=1)
    ]
    device_birth = births.encode_dbirth(epoch=epoch, metrics=metrics, sent_ms=sent_ms, seq=1)
    drafts = [
        message(EntryKind.NBIRTH, node_birth),
        message(EntryKind.DBIRTH, device_birth, device=DEVICE),
    ]
    whole = block_of(_readings(series))
    previous = NO_PREVIOUS
    first_ms = int(whole.time_ms[0]) if len(whole) else 0
    for number, block in enumerate(split(whole, count_max=READINGS_MAX, bytes_max=BYTES_MAX), start=1):
        clock = _clock(block, first_ms=first_ms, boot=f"import-{epoch}", bound_s=bound_s)
        found = digest(previous=previous, epoch=epoch, number=number, device=DEVICE, clock=clock, block=block)
        identity = SegmentId(epoch, number, found)
        t_min, t_max = int(block.time_ms.min()), int(block.time_ms.max())
        body = codec.encode_body(segment=identity, clock=clock, block=block, time_ms=t_min)
        payload = codec.seal(body, sent_ms=sent_ms, seq=(number + 1) % 256, historical=True)
        segment = message(EntryKind.SEGMENT, payload, device=DEVICE)
        drafts.append(
            replace(segment, number=number, digest=found, t_min_ms=t_min, t_max_ms=t_max, n=len(block))
        )
        previous = found
    drafts.append(message(EntryKind.NDEATH, births.encode_ndeath(bd_seq=0, sent_ms=sent_ms)))
    return drafts


def _readings(series: Sequence[Series]) -> list[Reading]:
    """All columns by time; instants go to the wire's millisecond, rounded up as everywhere."""
    rows = [
        Reading(-(-time // 1_000_000), Kind.F64, value, alias)
        if value is not None
        else Reading(-(-time // 1_000_000), Kind.F64, None, alias, "", Quality.BAD, Reason.INVALID)
        for alias, one in enumerate(series, start=1)
        for time, value in zip(one.time_ns, one.values, strict=True)
    ]
    rows.sort(key=lambda row: row.time_ms)
    return rows


def _clock(block: Block, *, first_ms: int, boot: str, bound_s: float | None) -> str:
    """A logger's clock: its time since the first reading, not synchronised, as wrong as was said."""
    last_ms = int(block.time_ms.max())
    return str(Clock(boot, max(0, last_ms - first_ms) * 1_000_000, last_ms * 1_000_000, False, bound_s))
