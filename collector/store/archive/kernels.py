"""The loops over bytes: payloads to tokens and tokens back to the same bytes.

Arrays in, arrays out. Purely a matter of spelling: a payload is an envelope (time sent, metrics, seq) and
a metric is a name or alias, a time, a value and properties, each written in the one way that our encoder
and most others write it. A metric spelled otherwise is a literal, a payload whose envelope is otherwise
does not fit. What a value means is none of this room's business.
"""

from __future__ import annotations

import types
from functools import cache
from typing import Any, Final

import numpy as np

NULL: Final = 0
"""Written as is_null; the numbers 1 to 6 are Sparkplug's value fields from int_value on."""
INT: Final = 1
LONG: Final = 2
FLOAT: Final = 3
DOUBLE: Final = 4
BOOLEAN: Final = 5
TEXT: Final = 6
NOTHING: Final = 7
LITERAL: Final = 8
KIND: Final = 0x0F
PROPERTIES: Final = 0x10
HISTORICAL: Final = 0x20
NAMED: Final = 0x40
"""Bits of a row's shape beside its kind."""
KEY_LIMIT: Final = 1 << 63
_INNER: Final = ("read_varint", "varint_size", "put_varint", "scan_metric", "content_size", "put_content")


def read_varint(raw: Any, at: Any, end: Any) -> Any:
    """(value, position behind it), or a position of -1 for one that is cut or not spelled shortest."""
    value = np.uint64(0)
    shift = 0
    while at < end and shift <= 63:
        byte = raw[at]
        at += 1
        if shift == 63 and byte > 1:
            return value, -1
        value |= np.uint64(byte & 0x7F) << np.uint64(shift)
        if byte < 0x80:
            if byte == 0 and shift > 0:
                return value, -1
            return value, at
        shift += 7
    return value, -1


def envelopes(raw: Any, starts: Any, rows: Any, sent: Any, seq: Any) -> None:
    """Metrics of each payload (-1: its envelope does not fit), its time and seq."""
    for i in range(len(rows)):
        at, end = starts[i], starts[i + 1]
        rows[i] = -1
        if at >= end or raw[at] != 0x08:
            continue
        sent[i], at = read_varint(raw, at + 1, end)
        n = 0
        while 0 <= at < end and raw[at] == 0x12:
            length, at = read_varint(raw, at + 1, end)
            if at < 0 or length > np.uint64(end - at):
                at = -1
                break
            at += np.int64(length)
            n += 1
        if not 0 <= at < end or raw[at] != 0x18:
            continue
        seq[i], at = read_varint(raw, at + 1, end)
        if at == end:
            rows[i] = n


def scan_metric(raw: Any, at: Any, end: Any, spans: Any, used: Any) -> Any:
    """(shape, key, time, bits, spans used): texts are noted in `spans` from row `used` on."""
    none = np.uint64(0)
    literal = (LITERAL, none, none, none, used)
    shape, key, first = 0, none, used
    if at < end and raw[at] == 0x0A:
        length, at = read_varint(raw, at + 1, end)
        if at < 0 or length > np.uint64(end - at):
            return literal
        spans[used, 0], spans[used, 1] = at, np.int64(length)
        used += 1
        at += np.int64(length)
        shape |= NAMED
    elif at < end and raw[at] == 0x10:
        key, at = read_varint(raw, at + 1, end)
        if at < 0 or key >= np.uint64(KEY_LIMIT):
            return literal
    else:
        return literal
    literal = (LITERAL, none, none, none, first)
    if at >= end or raw[at] != 0x18:
        return literal
    time, at = read_varint(raw, at + 1, end)
    if at < 0 or time >= np.uint64(KEY_LIMIT):
        return literal
    is_null = at + 1 < end and raw[at] == 0x38 and raw[at + 1] == 1
    if is_null:
        at += 2
    if at < end and raw[at] == 0x4A:
        length, at = read_varint(raw, at + 1, end)
        if at < 0 or length > np.uint64(end - at):
            return literal
        spans[used, 0], spans[used, 1] = at, np.int64(length)
        used += 1
        at += np.int64(length)
        shape |= PROPERTIES
    kind, bits = NOTHING, none
    if is_null:
        kind = NULL
    elif at < end and raw[at] in (0x50, 0x58, 0x70):
        tag = raw[at]
        kind = INT if tag == 0x50 else (LONG if tag == 0x58 else BOOLEAN)
        bits, at = read_varint(raw, at + 1, end)
        if at < 0 or (tag == 0x50 and bits >> np.uint64(32)) or (tag == 0x70 and bits > np.uint64(1)):
            return literal
    elif at < end and (raw[at] == 0x65 or raw[at] == 0x69):
        kind, size = (FLOAT, 4) if raw[at] == 0x65 else (DOUBLE, 8)
        at += 1
        if at + size > end:
            return literal
        for i in range(size):
            bits |= np.uint64(raw[at + i]) << np.uint64(8 * i)
        at += size
    elif at < end and raw[at] == 0x7A:
        length, at = read_varint(raw, at + 1, end)
        if at < 0 or length > np.uint64(end - at):
            return literal
        spans[used, 0], spans[used, 1] = at, np.int64(length)
        used += 1
        at += np.int64(length)
        kind = TEXT
    if at + 2 == end and raw[at] == 0x28 and raw[at + 1] == 1:
        shape |= HISTORICAL
        at += 2
    if at != end:
        return literal
    return shape | kind, key, time, bits, used


def scan(
    raw: Any, starts: Any, rows: Any, shape: Any, key: Any, time: Any, bits: Any, spans: Any, literals: Any
) -> Any:
    """Every metric of the payloads that fit into the columns; (texts, literals) noted."""
    row, used, kept = 0, 0, 0
    for i in range(len(rows)):
        if rows[i] < 0:
            continue
        _, at = read_varint(raw, starts[i] + 1, starts[i + 1])
        for _ in range(rows[i]):
            length, at = read_varint(raw, at + 1, starts[i + 1])
            end = at + np.int64(length)
            shape[row], key[row], time[row], bits[row], used = scan_metric(raw, at, end, spans, used)
            if shape[row] == LITERAL:
                literals[kept, 0], literals[kept, 1] = at, np.int64(length)
                kept += 1
            row += 1
            at = end
    return used, kept


def varint_size(value: Any) -> Any:
    """Bytes of a varint."""
    size = 1
    while value >= np.uint64(128):
        value >>= np.uint64(7)
        size += 1
    return size


def put_varint(out: Any, at: Any, value: Any) -> Any:
    """The position behind it."""
    while value >= np.uint64(128):
        out[at] = (value & np.uint64(0x7F)) | np.uint64(0x80)
        value >>= np.uint64(7)
        at += 1
    out[at] = value
    return at + 1


def content_size(shape: Any, key: Any, time: Any, bits: Any, name: Any, said: Any, sizes: Any) -> Any:
    """Bytes of one metric without tag and length. `sizes`: bytes of every text."""
    kind = shape & KIND
    size = 1 + varint_size(time)
    if shape & NAMED:
        size += 1 + varint_size(np.uint64(sizes[name])) + sizes[name]
    else:
        size += 1 + varint_size(key)
    if shape & PROPERTIES:
        size += 1 + varint_size(np.uint64(sizes[said])) + sizes[said]
    if shape & HISTORICAL:
        size += 2
    if kind == NULL:
        size += 2
    elif kind in (INT, LONG, BOOLEAN):
        size += 1 + varint_size(bits)
    elif kind == FLOAT:
        size += 5
    elif kind == DOUBLE:
        size += 9
    elif kind == TEXT:
        text = sizes[np.int64(bits)]
        size += 1 + varint_size(np.uint64(text)) + text
    return size


def put_content(
    out: Any, at: Any, shape: Any, key: Any, time: Any, bits: Any, name: Any, said: Any, texts: Any, ends: Any
) -> Any:
    """One metric from `at` on, without tag and length; text i ends at `ends[i + 1]` in `texts`."""
    kind = shape & KIND
    if shape & NAMED:
        out[at] = 0x0A
        at = put_varint(out, at + 1, np.uint64(ends[name + 1] - ends[name]))
        for i in range(ends[name], ends[name + 1]):
            out[at] = texts[i]
            at += 1
    else:
        out[at] = 0x10
        at = put_varint(out, at + 1, key)
    out[at] = 0x18
    at = put_varint(out, at + 1, time)
    if kind == NULL:
        out[at], out[at + 1] = 0x38, 1
        at += 2
    if shape & PROPERTIES:
        out[at] = 0x4A
        at = put_varint(out, at + 1, np.uint64(ends[said + 1] - ends[said]))
        for i in range(ends[said], ends[said + 1]):
            out[at] = texts[i]
            at += 1
    if kind in (INT, LONG, BOOLEAN):
        out[at] = 0x50 if kind == INT else (0x58 if kind == LONG else 0x70)
        at = put_varint(out, at + 1, bits)
    elif kind in (FLOAT, DOUBLE):
        out[at] = 0x65 if kind == FLOAT else 0x69
        at += 1
        for _ in range(4 if kind == FLOAT else 8):
            out[at] = bits & np.uint64(0xFF)
            bits >>= np.uint64(8)
            at += 1
    elif kind == TEXT:
        text = np.int64(bits)
        out[at] = 0x7A
        at = put_varint(out, at + 1, np.uint64(ends[text + 1] - ends[text]))
        for i in range(ends[text], ends[text + 1]):
            out[at] = texts[i]
            at += 1
    if shape & HISTORICAL:
        out[at], out[at + 1] = 0x28, 1
        at += 2
    return at


def measure(
    shape: Any, key: Any, time: Any, bits: Any, name: Any, said: Any, sizes: Any, literal_sizes: Any, out: Any
) -> None:
    """Bytes of every metric's content."""
    literal = 0
    for row in range(len(shape)):
        if shape[row] == LITERAL:
            out[row] = literal_sizes[literal]
            literal += 1
        else:
            out[row] = content_size(shape[row], key[row], time[row], bits[row], name[row], said[row], sizes)


def write(
    rows: Any, sent: Any, seq: Any, shape: Any, key: Any, time: Any, bits: Any, name: Any, said: Any,
    contents: Any, texts: Any, ends: Any, literals: Any, out: Any, starts: Any,
) -> Any:  # fmt: skip
    """Payload after payload into `out`; payload i begins at `starts[i]`. The number of bytes."""
    row, at, literal = 0, 0, 0
    for i in range(len(rows)):
        starts[i] = at
        out[at] = 0x08
        at = put_varint(out, at + 1, sent[i])
        for _ in range(rows[i]):
            out[at] = 0x12
            at = put_varint(out, at + 1, np.uint64(contents[row]))
            if shape[row] == LITERAL:
                for _ in range(contents[row]):
                    out[at] = literals[literal]
                    literal += 1
                    at += 1
            else:
                at = put_content(
                    out, at, shape[row], key[row], time[row], bits[row], name[row], said[row], texts, ends
                )
            row += 1
        out[at] = 0x18
        at = put_varint(out, at + 1, seq[i])
    starts[len(rows)] = at
    return at


@cache
def compiled() -> types.SimpleNamespace:
    """`envelopes`, `scan`, `measure` and `write`, compiled (or from the cache) at the first use."""
    from numba import njit  # noqa: PLC0415 - a second and 100 MB: only who archives or reads old ranges

    namespace: dict[str, Any] = dict(globals())

    def compile_one(name: str) -> Any:
        function = namespace[name]
        copy = types.FunctionType(function.__code__, namespace, function.__name__)
        try:
            return njit(cache=True, nogil=True)(copy)
        except RuntimeError:  # no writable place for the cache: compile each time instead
            return njit(nogil=True)(copy)

    for name in _INNER:
        namespace[name] = compile_one(name)
    made = {name: compile_one(name) for name in ("envelopes", "scan", "measure", "write")}
    return types.SimpleNamespace(**made)
