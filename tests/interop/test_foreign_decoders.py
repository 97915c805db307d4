"""What foreign decoders read in our payloads: pysparkplug's and npm's, over the golden vectors and more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gateway.contract import births, codec
from gateway.contract.births import MetricBirth
from gateway.contract.reading import Kind, Quality, Reading, block_of
from gateway.contract.segment import NO_PREVIOUS, Clock, SegmentId, digest
from tests.interop.peers import asked

VECTORS: dict[str, str] = json.loads(
    (Path(__file__).parents[1] / "contract/wire_vectors.json").read_text("utf-8")
)["payloads"]
EPOCH = "7f3a9c21d0e4b5a6"
NOW = 1_767_225_600_000
KINDS = {1: Kind.F64, 2: Kind.I64, 3: Kind.U64, 4: Kind.BOOL, 5: Kind.STRING, 300: Kind.F64}
VALUES: list[tuple[int, Any]] = [
    *((1, 36.97), (300, -1e-300), (2, -(2**63)), (2, 2**63 - 1), (3, 2**64 - 1), (4, True), (4, False)),
    *((5, "läuft"), (5, ""), (1, None), (5, None), (2, None)),
]
READINGS = [
    Reading(
        time_ms=NOW + at,
        kind=KINDS[key],
        value=value,
        key=key,
        quality=Quality.BAD if value is None else Quality.GOOD,
        reason="timeout" if value is None else "",
    )
    for at, (key, value) in enumerate(VALUES)
]
BIRTH = births.encode_dbirth(
    epoch=EPOCH,
    metrics=[
        MetricBirth(name=f"point {key}", kind=kind, alias=key, unit="Cel", period_ms=500, profile="p@1 00")
        for key, kind in KINDS.items()
    ],
    sent_ms=NOW,
    seq=1,
)


def data(*, historical: bool) -> bytes:
    """A segment of all kinds."""
    block, clock = block_of(READINGS), str(Clock("boot", 1, NOW * 1_000_000, True, 0.004))
    made = digest(previous=NO_PREVIOUS, epoch=EPOCH, number=1, device="D", clock=clock, block=block)
    body = codec.encode_body(segment=SegmentId(EPOCH, 1, made), clock=clock, block=block, time_ms=NOW)
    return codec.seal(body, sent_ms=NOW + 900, seq=200, historical=historical)


async def test_pysparkplug_reads_our_births_and_data() -> None:
    question = [
        {"kind": "NBirth", "hex": VECTORS["nbirth"], "birth": None},
        {"kind": "DBirth", "hex": VECTORS["dbirth"], "birth": None},
        {"kind": "NDeath", "hex": VECTORS["ndeath"], "birth": None},
        {"kind": "DDeath", "hex": VECTORS["ddeath"], "birth": None},
        {"kind": "NCmd", "hex": VECTORS["ncmd_rebirth"], "birth": 0},
        {"kind": "NCmd", "hex": VECTORS["ncmd_receipt"], "birth": 0},
        {"kind": "NData", "hex": VECTORS["ndata_event"], "birth": 0},
        {"kind": "DBirth", "hex": BIRTH.hex(), "birth": None},
        {"kind": "DData", "hex": data(historical=False).hex(), "birth": 7},
        {"kind": "DData", "hex": data(historical=True).hex(), "birth": 7},
    ]
    answers = await asked("python", "decode", question)
    nbirth, dbirth, ndeath, ddeath, rebirth, receipt, event, _, live, late = answers
    own = births.decode_nbirth(bytes.fromhex(VECTORS["nbirth"]))
    _same_birth(nbirth, {"bdSeq": own.bd_seq, **own.facts, **{m.name: m.value for m in own.metrics}})
    device = births.decode_dbirth(bytes.fromhex(VECTORS["dbirth"]))
    _same_birth(dbirth, {m.name: m.value for m in device.metrics})
    assert ndeath["metrics"][0]["value"] == births.decode_ndeath(bytes.fromhex(VECTORS["ndeath"]))
    assert ddeath["seq"] is not None
    for answer, name in ((rebirth, "ncmd_rebirth"), (receipt, "ncmd_receipt")):
        read = [(metric["name"], metric["value"]) for metric in answer["metrics"]]
        assert read == codec.decode_command(bytes.fromhex(VECTORS[name]))
    texts = codec.decode_data(bytes.fromhex(VECTORS["ndata_event"])).block.named_values("Journal/Event")
    assert event["metrics"][-1]["value"] == texts[-1][2]
    for answer, historical in ((live, False), (late, True)):
        assert (answer["timestamp"], answer["seq"]) == (NOW + 900, 200)
        rows = answer["metrics"][2:]
        assert [metric["name"] for metric in answer["metrics"][:2]] == ["Outbox/Segment", "Outbox/Clock"]
        assert answer["metrics"][0]["is_transient"]
        assert {metric["is_historical"] for metric in answer["metrics"]} == {historical}
        _same_rows(rows)
        assert [metric["name"] for metric in rows] == [f"point {key}" for key, _ in VALUES]


async def test_npm_reads_our_births_data_and_properties() -> None:
    names = ("nbirth", "dbirth", "ndeath")
    question = [*(VECTORS[name] for name in names), BIRTH.hex(), data(historical=True).hex()]
    nbirth, dbirth, ndeath, birth, late = await asked("node", "decode.js", question)
    own = births.decode_nbirth(bytes.fromhex(VECTORS["nbirth"]))
    assert {m["name"] for m in nbirth["metrics"]} == {"bdSeq", *own.facts, *(m.name for m in own.metrics)}
    device = births.decode_dbirth(bytes.fromhex(VECTORS["dbirth"]))
    read = {m["name"]: m["value"] for m in dbirth["metrics"]}
    for point in device.metrics:
        whole = str(point.value) if point.kind in {Kind.I64, Kind.U64} else point.value
        assert read[point.name] == (None if point.value is None else whole)
    assert [(m["name"], m["type"]) for m in ndeath["metrics"]] == [("bdSeq", "Int64")]
    points = [m for m in birth["metrics"] if m["alias"] is not None]
    assert {(m["name"], m["alias"]) for m in points} == {(f"point {key}", key) for key in KINDS}
    assert {tuple(m["properties"]["engUnit"]) for m in points} == {("String", "Cel")}
    assert {tuple(m["properties"]["Period"]) for m in points} == {("Int64", "500")}
    assert (late["timestamp"], late["seq"]) == (NOW + 900, 200)
    rows = late["metrics"][2:]
    assert all(metric["is_historical"] for metric in rows)
    for (key, value), metric in zip(VALUES, rows, strict=True):
        assert (
            metric["alias"] == key
        )  # its decoder reads no value without a datatype, which data need not have
        told = None if value is not None else ("Int32", 0)
        assert (tuple(metric["properties"]["Quality"]) if metric["properties"] else None) == told
        assert not metric["properties"] or metric["properties"]["Reason"] == ["String", "timeout"]


def _same_birth(answer: dict[str, Any], told: dict[str, Any]) -> None:
    read = {metric["name"]: metric for metric in answer["metrics"]}
    for name, value in told.items():
        metric = read[name]
        if isinstance(value, int) and metric["datatype"] == 13:
            continue  # a DateTime, which it turns into a time of its own kind
        assert (metric["value"], metric["is_null"]) == (value, value is None), name


def _same_rows(rows: list[dict[str, Any]]) -> None:
    for at, ((key, value), metric) in enumerate(zip(VALUES, rows, strict=True)):
        assert (metric["alias"], metric["timestamp"]) == (key, NOW + at)
        assert (metric["value"], metric["is_null"]) == (value, value is None)
