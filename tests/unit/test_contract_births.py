"""Births, deaths, host state, status and commands: what each says, and what a foreign one may say."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.contract import births, wire
from gateway.contract.births import MetricBirth, decode_dbirth, decode_nbirth, decode_ndeath, decode_state
from gateway.contract.codec import PayloadError, decode_command, decode_data, encode_command, encode_status
from gateway.contract.reading import Kind
from gateway.contract.receipts import Receipt

EPOCH = "7f3a9c21d0e4b5a6"
NOW = 1_700_000_000_000
POINTS = (
    MetricBirth(
        name="temperature", kind=Kind.F64, alias=1, unit="Cel", period_ms=500, profile="br@3 ab", value=36.5
    ),
    MetricBirth(name="count", kind=Kind.U64, alias=2, value=2**64 - 1, time_ms=NOW - 5),
    MetricBirth(name="offset", kind=Kind.I64, alias=3, value=-4),
    MetricBirth(name="door", kind=Kind.BOOL, alias=4, value=False, transient=True),
    MetricBirth(name="state", kind=Kind.STRING, alias=2**63 - 1, value="läuft"),
    MetricBirth(name="retired", kind=Kind.F64, alias=6),
)


def nbirth(**changes: Any) -> bytes:
    arguments: dict[str, Any] = {
        "epoch": EPOCH, "bd_seq": 3, "agent_version": "0.1.0", "config_hash": "c0", "limits_hash": "1f",
        "depth": 12, "oldest_ms": NOW - 9, "bytes_": 4096, "metrics": POINTS, "sent_ms": NOW,
    }  # fmt: skip
    return births.encode_nbirth(**{**arguments, **changes})


def timed(points: tuple[MetricBirth, ...]) -> list[tuple[Any, ...]]:
    """The points with the birth's time where they had none."""
    return [
        (p.name, p.kind, p.alias, p.unit, p.period_ms, p.profile, p.value, p.time_ms or NOW, p.transient)
        for p in points
    ]


def test_a_node_birth_comes_back() -> None:
    birth = decode_nbirth(nbirth())
    assert (birth.epoch, birth.bd_seq, birth.seq, birth.sent_ms) == (EPOCH, 3, 0, NOW)
    assert timed(birth.metrics) == timed(POINTS)
    assert birth.facts == {
        "Node Control/Rebirth": False,
        "Outbox/Epoch": EPOCH,
        "Outbox/Segment": None,
        "Outbox/Clock": None,
        "Outbox/Acknowledge": None,
        "Outbox/Depth": 12,
        "Outbox/Oldest": NOW - 9,
        "Outbox/Bytes": 4096,
        "Agent/Version": "0.1.0",
        "Config/Hash": "c0",
        "Limits/Hash": "1f",
        "Journal/Event": None,
    }


def test_a_node_birth_says_how_long_readings_are_held() -> None:
    birth = decode_nbirth(nbirth(flush_ms=250))
    assert birth.facts["Outbox/Flush"] == 250
    assert "Outbox/Flush" not in decode_nbirth(nbirth()).facts


def test_every_metric_of_a_birth_keeps_the_specifications_rules() -> None:
    message = wire.parse(nbirth())
    names = [metric.name for metric in message.metrics]
    assert len(set(names)) == len(names)
    by_name = {metric.name: metric for metric in message.metrics}
    for metric in message.metrics:
        assert metric.HasField("timestamp")
        assert metric.HasField("datatype")
        assert metric.is_null or metric.WhichOneof("value"), metric.name
        assert not (metric.is_null and metric.WhichOneof("value"))
    assert not by_name["Node Control/Rebirth"].HasField("alias")
    assert by_name["Node Control/Rebirth"].datatype == 11
    assert by_name["bdSeq"].datatype == 4
    assert by_name["Outbox/Segment"].is_transient
    assert not any(by_name[name].HasField("alias") for name in names if "Outbox/" in name)


def test_a_device_birth_comes_back_and_stands_alone() -> None:
    birth = decode_dbirth(births.encode_dbirth(epoch=EPOCH, metrics=POINTS, sent_ms=NOW, seq=255))
    assert (birth.epoch, birth.seq, birth.sent_ms) == (EPOCH, 255, NOW)
    assert timed(birth.metrics) == timed(POINTS)


def foreign(*metrics: dict[str, Any]) -> bytes:
    raw: bytes = wire.Payload(timestamp=NOW, seq=9, metrics=metrics).SerializeToString()
    return raw


def test_a_foreign_birth_is_read_as_far_as_it_goes() -> None:
    birth = decode_nbirth(
        foreign(
            {"name": "bdSeq", "datatype": 8, "long_value": 7},
            {"name": "Node Control/Reboot", "datatype": 11, "boolean_value": False},
            {"name": "T", "alias": 0, "datatype": 9, "float_value": 1.5},
            {"name": "n", "alias": 1, "datatype": 3, "int_value": 2**32 - 2},
            {"name": "blob", "alias": 2, "datatype": 17, "bytes_value": b"x"},
            {"name": "odd", "alias": 3, "datatype": 10, "string_value": "not a number"},
            {"name": "untyped", "double_value": float("nan")},
        )
    )
    assert (birth.epoch, birth.bd_seq, birth.seq) == (None, 7, 9)
    assert birth.facts == {"Node Control/Reboot": False}
    assert [(m.name, m.kind, m.alias, m.value) for m in birth.metrics] == [
        ("T", Kind.F64, 0, 1.5),
        ("n", Kind.I64, 1, -2),
        ("blob", Kind.STRING, 2, None),
        ("odd", Kind.F64, 3, None),
        ("untyped", Kind.F64, None, None),
    ]
    device = decode_dbirth(foreign({"name": "T", "alias": 4, "datatype": 10, "is_null": True}))
    assert (device.epoch, device.metrics[0].alias) == (None, 4)


@pytest.mark.parametrize(
    "metric",
    [
        {"alias": 1},
        {"name": "Outbox/Epoch", "string_value": "XYZ"},
        {"name": "Outbox/Epoch", "long_value": 1},
    ],
)
def test_births_that_bind_nothing_are_refused(metric: dict[str, Any]) -> None:
    with pytest.raises(PayloadError):
        decode_nbirth(foreign(metric))
    with pytest.raises(PayloadError):
        decode_dbirth(foreign(metric))


def test_deaths() -> None:
    raw = births.encode_ndeath(bd_seq=255, sent_ms=NOW)
    assert decode_ndeath(raw) == 255
    assert not wire.parse(raw).HasField("seq")
    assert decode_ndeath(foreign()) is None
    gone = wire.parse(births.encode_ddeath(sent_ms=NOW, seq=4))
    assert (gone.timestamp, gone.seq, len(gone.metrics)) == (NOW, 4, 0)
    with pytest.raises(PayloadError):
        decode_ndeath(b"\xff")


def test_host_state() -> None:
    assert births.encode_state(online=True, timestamp_ms=NOW) == b'{"online":true,"timestamp":1700000000000}'
    assert decode_state(births.encode_state(online=False, timestamp_ms=5)) == (False, 5)
    for raw in (
        b"",
        b"OFFLINE",
        b"[]",
        b'{"online":1,"timestamp":2}',
        b'{"online":true}',
        b"\xff",
        b"[" * 9000,
    ):
        with pytest.raises(PayloadError, match="host state"):
            decode_state(raw)


def test_status_is_no_segment() -> None:
    data = decode_data(encode_status(depth=3, oldest_ms=NOW, bytes_=2**40, sent_ms=NOW, seq=1))
    assert data.status == {"Outbox/Depth": 3, "Outbox/Oldest": NOW, "Outbox/Bytes": 2**40}
    assert (data.segment, len(data.block), data.seq) == (None, 0, 1)
    empty = decode_data(encode_status(depth=0, oldest_ms=None, bytes_=0, sent_ms=NOW, seq=1))
    assert empty.status == {"Outbox/Depth": 0, "Outbox/Bytes": 0}


def test_commands_come_back_and_a_seq_is_ignored() -> None:
    receipt = str(Receipt("telomere", "ab" * 8, EPOCH, 5, ((7, 9),), (12,)))
    raw = encode_command("Outbox/Acknowledge", receipt, NOW)
    assert decode_command(raw) == [("Outbox/Acknowledge", receipt)]
    assert not wire.parse(raw).HasField("seq")
    assert decode_command(encode_command("Node Control/Rebirth", value=True, sent_ms=NOW) + b"\x18\x05") == [
        ("Node Control/Rebirth", True)
    ]
    assert decode_command(foreign({"alias": 3, "int_value": 1}, {"name": "x", "is_null": True})) == [
        ("x", None)
    ]
    with pytest.raises(PayloadError):
        decode_command(b"\x12\xff")
