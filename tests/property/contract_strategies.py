"""Hypothesis strategies for blocks, and payloads taken apart into their raw fields."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import numpy as np
from hypothesis import strategies as st

from gateway.contract import codec
from gateway.contract.blocks import block_from_columns, concat
from gateway.contract.reading import TIME_MS_MAX, Block, Kind, Quality, Reading, block_of
from gateway.contract.segment import NO_PREVIOUS, Clock, SegmentId, digest
from gateway.contract.wire import read_varint, varint

EPOCH = "7f3a9c21d0e4b5a6"
NAMES = st.text(min_size=1, max_size=12).filter(lambda text: not text.startswith("Outbox/"))
TIMES = st.integers(0, TIME_MS_MAX) | st.integers(1_700_000_000_000, 1_700_000_100_000)
ALIASES = st.integers(1, 300) | st.integers(1, 2**63 - 1)
QUALITIES = st.sampled_from(list(Quality))
REASONS = st.sampled_from(["", "timeout", "range", "not_a_number", "of our own: é"])
VALUES: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.F64: st.floats(allow_nan=False, allow_infinity=False),
    Kind.I64: st.integers(-(2**63), 2**63 - 1),
    Kind.U64: st.integers(0, 2**64 - 1),
    Kind.BOOL: st.booleans(),
    Kind.STRING: st.text(max_size=8),
}


@st.composite
def readings(draw: st.DrawFn) -> Reading:
    """Any one reading; one in three a plain good double."""
    if draw(st.integers(0, 2)) == 0:
        return Reading(time_ms=draw(TIMES), kind=Kind.F64, value=draw(VALUES[Kind.F64]), key=draw(ALIASES))
    kind = draw(st.sampled_from(list(Kind)))
    named = draw(st.booleans())
    return Reading(
        time_ms=draw(TIMES),
        kind=kind,
        value=draw(st.none() | VALUES[kind]),
        key=0 if named else draw(ALIASES),
        name=draw(NAMES) if named else "",
        quality=draw(QUALITIES),
        reason=draw(REASONS),
    )


@st.composite
def blocks(draw: st.DrawFn) -> Block:
    """Up to some 300 readings: few drawn, repeated and shuffled so that the bulk forms take part too."""
    rows = draw(st.lists(readings(), max_size=10)) * draw(st.sampled_from([1, 1, 8, 30]))
    Random(draw(st.integers(0, 99))).shuffle(rows)
    block = block_of(rows)
    if draw(st.booleans()):
        return block
    # Fields that only foreign nodes send: 32-bit integers and floats.
    ints = block_from_columns(key=3, time_ms=draw(st.lists(TIMES, max_size=3)), bits=2**32 - 5, field=10)
    floats = block_from_columns(key=4, time_ms=[9], bits=int(np.float32(1.5).view(np.uint32)), field=12)
    return concat([block, ints, floats])


def same(a: Block, b: Block) -> bool:
    """Equal to the bit, dictionaries included."""
    columns = ("key", "time_ms", "field", "bits", "quality", "reason")
    return (a.names, a.strings, a.reasons) == (b.names, b.strings, b.reasons) and all(
        np.array_equal(getattr(a, name), getattr(b, name))
        and getattr(a, name).dtype == getattr(b, name).dtype
        for name in columns
    )


def sealed(block: Block, *, number: int = 1, historical: bool = False) -> tuple[SegmentId, bytes]:
    """The block as a segment of device D, with its identity."""
    clock = str(Clock("boot-1", 5_000, 1_700_000_000_000_000_000, synchronised=True, bound_s=0.004))
    made = digest(previous=NO_PREVIOUS, epoch=EPOCH, number=number, device="D", clock=clock, block=block)
    identity = SegmentId(EPOCH, number, made)
    time_ms = int(block.time_ms[0]) if len(block) else 0
    body = codec.encode_body(segment=identity, clock=clock, block=block, time_ms=time_ms)
    return identity, codec.seal(body, sent_ms=1_700_000_000_123, seq=7, historical=historical)


def fields(raw: bytes) -> list[tuple[int, int, bytes]]:
    """(field number, wire type, value bytes without length) of a message, in order."""
    out, at = [], 0
    while at < len(raw):
        tag, at = read_varint(raw, at)
        match tag & 7:
            case 0:
                end = read_varint(raw, at)[1]
            case 1:
                end = at + 8
            case 2:
                size, at = read_varint(raw, at)
                end = at + size
            case _:
                end = at + 4
        out.append((tag >> 3, tag & 7, raw[at:end]))
        at = end
    return out


def message_of(parts: Sequence[tuple[int, int, bytes]]) -> bytes:
    """The message of these fields, in the order given."""
    return b"".join(
        varint(number << 3 | kind) + (varint(len(value)) if kind == 2 else b"") + value
        for number, kind, value in parts
    )


def shuffled(payload: bytes, shuffle: Callable[[list[Any]], None]) -> bytes:
    """The same payload with the fields of every metric, and the envelope among them, in another order."""
    metrics, envelope = [], []
    for number, kind, value in fields(payload):
        if number != 2:
            envelope.append((number, kind, value))
            continue
        parts = fields(value)
        shuffle(parts)
        metrics.append((number, kind, message_of(parts)))
    for part in envelope:
        places: list[Any] = list(range(len(metrics) + 1))
        shuffle(places)
        metrics.insert(places[0], part)
    return message_of(metrics)
