"""Golden vectors of wire version 1: bytes that were once sent must be read for ever.

The payloads and digests in `wire_vectors.json` are checked in. The digest is computed here a second
time, from the numbers in the file with `struct` alone, so that a fault in the contract's own digest
cannot hide. Never edit a vector: a new version of the wire adds new ones.
"""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from gateway.contract import births, codec, events
from gateway.contract.births import MetricBirth
from gateway.contract.reading import Block, Kind, Quality, Reading, block_of
from gateway.contract.receipts import Receipt
from gateway.contract.segment import NO_PREVIOUS, Clock, SegmentId, digest

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "wire_vectors.json").read_text("utf-8"))
EPOCH = "7f3a9c21d0e4b5a6"
NOW = 1_767_225_600_000
CLOCK = str(Clock("3f0c7a5e-boot", 81_500_000_000, NOW * 1_000_000, synchronised=True, bound_s=0.0042))
EVENT = (
    '{"act":"put_in","actor":"ana","batch":"B-2026-0001","effective":null,"equipment":"FRZ-01",'
    '"id":"0a1b2c3d4e5f60718293a4b5c6d7e8f9","kind":"scan","note":"","time":"2026-01-01T00:00:00.000Z"}'
)
DATA = block_of(
    [
        Reading(time_ms=NOW, kind=Kind.F64, value=36.97, key=1),
        Reading(time_ms=NOW, kind=Kind.F64, value=-0.0, key=300),
        Reading(time_ms=NOW + 1, kind=Kind.I64, value=-40, key=2),
        Reading(time_ms=NOW + 1, kind=Kind.U64, value=2**64 - 1, key=3),
        Reading(time_ms=NOW + 2, kind=Kind.BOOL, value=True, key=4),
        Reading(time_ms=NOW + 2, kind=Kind.STRING, value="läuft", key=5),
        Reading(time_ms=NOW + 3, kind=Kind.F64, value=None, key=1, quality=Quality.BAD, reason="timeout"),
        Reading(
            time_ms=NOW + 3, kind=Kind.F64, value=4.5, key=300, quality=Quality.STALE, reason="source_stale"
        ),
        Reading(time_ms=NOW + 4, kind=Kind.F64, value=37.0, name="by/name"),
        Reading(time_ms=NOW + 4, kind=Kind.F64, value=37.5, name="other"),
        Reading(time_ms=NOW + 5, kind=Kind.STRING, value="läuft", key=5),
        Reading(time_ms=NOW + 5, kind=Kind.BOOL, value=False, name="by/name"),
    ]
)
POINTS = (
    MetricBirth(
        name="temperature",
        kind=Kind.F64,
        alias=1,
        unit="Cel",
        period_ms=500,
        profile="demo@3 ab12",
        value=36.97,
    ),
    MetricBirth(name="offset", kind=Kind.I64, alias=2, unit="1", value=-40, time_ms=NOW - 7),
    MetricBirth(name="retired", kind=Kind.STRING, alias=9),
)


def _segment(block: Block, number: int, device: str, previous: str, *, historical: bool) -> bytes:
    made = digest(previous=previous, epoch=EPOCH, number=number, device=device, clock=CLOCK, block=block)
    body = codec.encode_body(
        segment=SegmentId(EPOCH, number, made), clock=CLOCK, block=block, time_ms=int(block.time_ms[0])
    )
    return codec.seal(body, sent_ms=NOW + 900, seq=17, historical=historical)


def payloads() -> dict[str, bytes]:
    """What the present encoders make of the inputs above."""
    event = block_of([Reading(time_ms=NOW, kind=Kind.STRING, value=EVENT, name="Journal/Event")])
    first = _segment(DATA, 1, "BR-01", NO_PREVIOUS, historical=False)
    chained = codec.decode_data(first).segment
    assert chained is not None
    return {
        "ddata": first,
        "ddata_historical": _segment(DATA, 1, "BR-01", NO_PREVIOUS, historical=True),
        "ndata_event": _segment(event, 2, "-", chained.digest, historical=False),
        "nbirth": births.encode_nbirth(
            epoch=EPOCH, bd_seq=255, agent_version="0.1.0", config_hash="00112233", limits_hash="44556677",
            depth=2, oldest_ms=NOW, bytes_=1234, metrics=POINTS, sent_ms=NOW, seq=0,
        ),
        "dbirth": births.encode_dbirth(epoch=EPOCH, metrics=POINTS, sent_ms=NOW, seq=1),
        "ndeath": births.encode_ndeath(bd_seq=255, sent_ms=NOW),
        "ddeath": births.encode_ddeath(sent_ms=NOW, seq=2),
        "ncmd_receipt": codec.encode_command(
            "Outbox/Acknowledge", str(Receipt("telomere", "ab" * 8, EPOCH, 5, ((7, 9), (12, 12)), (15,))), NOW
        ),
        "ncmd_rebirth": codec.encode_command("Node Control/Rebirth", value=True, sent_ms=NOW),
        "ndata_status": codec.encode_status(depth=2, oldest_ms=NOW, bytes_=1234, sent_ms=NOW, seq=3),
        "state": births.encode_state(online=True, timestamp_ms=NOW),
    }  # fmt: skip


@pytest.mark.parametrize("name", list(VECTORS["payloads"]))
def test_the_encoders_still_write_these_bytes(name: str) -> None:
    assert payloads()[name].hex() == VECTORS["payloads"][name]


def test_every_payload_has_a_vector() -> None:
    assert set(payloads()) == set(VECTORS["payloads"])


def _packed(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<I", len(raw)) + raw


def _digest_again(vector: dict[str, Any]) -> str:
    """The digest of docs/protocol.md, from the vector's own numbers, without any of our code."""
    rows = vector["rows"]
    parts = [
        b"telomere-segment-1",
        bytes.fromhex(vector["previous"]),
        bytes.fromhex(vector["epoch"]),
        struct.pack("<Q", vector["number"]),
        _packed(vector["device"]),
        _packed(vector["clock"]),
        struct.pack("<I", len(rows)),
    ]
    for at, code in enumerate("QqBQHH"):
        parts.append(struct.pack(f"<{len(rows)}{code}", *(int(row[at]) for row in rows)))
    for column in ("names", "strings", "reasons"):
        parts.extend(_packed(text) for text in vector[column])
    return hashlib.sha256(b"".join(parts)).hexdigest()


@pytest.mark.parametrize("vector", VECTORS["segments"], ids=lambda vector: vector["payload"])
def test_segments_decode_to_these_columns_and_digests(vector: dict[str, Any]) -> None:
    data = codec.decode_data(bytes.fromhex(VECTORS["payloads"][vector["payload"]]))
    block = data.block
    columns = (block.key, block.time_ms, block.field, block.bits, block.quality, block.reason)
    assert [
        [str(value) for value in row] for row in zip(*(c.tolist() for c in columns), strict=True)
    ] == vector["rows"]
    assert [list(block.names), list(block.strings), list(block.reasons)] == [
        vector["names"],
        vector["strings"],
        vector["reasons"],
    ]
    assert data.clock_text == vector["clock"]
    assert data.historical is vector["historical"]
    assert str(data.segment) == f"{vector['epoch']}/{vector['number']}/{vector['digest']}"
    assert _digest_again(vector) == vector["digest"]
    assert codec.check_digest(data, previous=vector["previous"], device=vector["device"])


def test_the_event_in_its_segment_is_read() -> None:
    data = codec.decode_data(bytes.fromhex(VECTORS["payloads"]["ndata_event"]))
    [(index, time_ms, text)] = data.block.named_values(events.EVENT_METRIC)
    scan = events.parse_event(text)
    assert (index, time_ms) == (0, NOW)
    assert isinstance(scan, events.Scan)
    assert events.event_text(scan) == EVENT


def test_births_deaths_and_commands_are_read() -> None:
    raw = {name: bytes.fromhex(text) for name, text in VECTORS["payloads"].items()}
    node, device = births.decode_nbirth(raw["nbirth"]), births.decode_dbirth(raw["dbirth"])
    assert (node.epoch, node.bd_seq, node.facts["Limits/Hash"]) == (EPOCH, 255, "44556677")
    assert (device.epoch, device.metrics) == (EPOCH, node.metrics)
    assert [(m.name, m.alias, m.value) for m in device.metrics] == [
        ("temperature", 1, 36.97),
        ("offset", 2, -40),
        ("retired", 9, None),
    ]
    assert births.decode_ndeath(raw["ndeath"]) == 255
    assert births.decode_state(raw["state"]) == (True, NOW)
    [(name, text)] = codec.decode_command(raw["ncmd_receipt"])
    assert name == "Outbox/Acknowledge"
    assert Receipt.parse(str(text)).refused == (15,)
    assert codec.decode_command(raw["ncmd_rebirth"]) == [("Node Control/Rebirth", True)]
    assert codec.decode_data(raw["ndata_status"]).status["Outbox/Depth"] == 2
