"""The kernel: data payloads as our gateways write them, byte by byte into columns.

Arrays in, arrays out; no allocation in the loop. It reads a part of protobuf's language and gives up on a
payload (`SLOW`) as soon as one byte of it is outside: the plain decoder then has the word, so what this
file accepts it must read as `decode.decode_data` does, and nothing else matters. Runs compiled only
(`compiled`); positions are int64 and wire values uint64, never mixed. Must not know Python objects.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np

# The columns of `facts`, one row a payload.
OK: Final = 0
HISTORICAL: Final = 1
HAS_SENT: Final = 2
SENT: Final = 3
HAS_SEQ: Final = 4
SEQ: Final = 5
T_MIN: Final = 6
T_MAX: Final = 7
ROWS: Final = 8
"""How many readings; those of the payloads before are in front of them."""
TEXTS: Final = 9
"""How many texts, as ROWS."""
SEGMENT_AT: Final = 10
SEGMENT_BYTES: Final = 11
"""0: no identity."""
NUMBER: Final = 12
CLOCK_AT: Final = 13
CLOCK_BYTES: Final = 14
"""-1: no clock facts."""
FOREIGN_LETTERS: Final = 15
"""Some text is not ASCII: whether it is UTF-8 is not known here."""
KINDS: Final = 16
"""From here on: how many texts of each kind."""
FACTS: Final = 19

# The columns of `texts`: every different name, string and reason of a payload, in order of first appearance.
TEXT_AT: Final = 0
TEXT_BYTES: Final = 1
TEXT_KIND: Final = 2
TEXT_INDEX: Final = 3
TEXT_COLUMNS: Final = 4
NAME: Final = 0
STRING: Final = 1
REASON: Final = 2

# What one metric says, as positions and flags (`m`) and as wire values (`u`).
M_NAME_AT: Final = 0
M_NAME_BYTES: Final = 1
M_HISTORICAL: Final = 2
M_NULL: Final = 3
M_FIELD: Final = 4
M_TEXT_AT: Final = 5
M_TEXT_BYTES: Final = 6
M_PROPS_AT: Final = 7
M_PROPS_BYTES: Final = 8
M_HAS_TIME: Final = 9
M_SIZE: Final = 10
U_ALIAS, U_TIME, U_BITS, U_SIZE = 0, 1, 2, 3

# The properties read last, kept from metric to metric: they are equal as a rule.
P_AT: Final = 0
P_BYTES: Final = 1
P_SAID: Final = 2
P_WHY_AT: Final = 3
P_WHY_BYTES: Final = 4
P_REASON_AT: Final = 5
P_REASON_BYTES: Final = 6
P_REASON: Final = 7
"""Index of the reason interned last, -1 without one, with its place before."""
P_SIZE: Final = 8

NOT_A_NUMBER: Final = b"not_a_number"
"""Stands in front of the payloads: a reason that no payload spells out."""
IDENTITY_MIN: Final = 16 + 1 + 1 + 1 + 64
"""Bytes of the shortest `epoch/number/digest`."""
NUMBER_DIGITS_MAX: Final = 19
PAYLOAD_BYTES_MAX: Final = 4 << 20
METRICS_MAX: Final = 65_536
TIME_MS_MAX: Final = (1 << 63) // 1_000_000 - 1
TABLE: Final = 1 << 13
"""Places of the table in which texts are found again; a payload with half as many is left to the plain
decoder, and so is one whose texts collide more than PROBES_MAX times in a row."""
PROBES_MAX: Final = 64
OUTBOX: Final = b"Outbox/"
SEGMENT: Final = b"Outbox/Segment"
CLOCK: Final = b"Outbox/Clock"
QUALITY_KEY: Final = b"Quality"
REASON_KEY: Final = b"Reason"
GOOD: Final = 192
STALE: Final = 500
GOOD_LAST: Final = 255

A: TypeAlias = Any  # numba compiles these functions for plain numbers and arrays: `many` makes them


def read_varint(raw: A, at: A, end: A) -> Any:
    """(value, position behind it), position -1 when it is cut or too large."""
    value = np.uint64(0)
    shift = 0
    while at < end and shift < 64:
        byte = raw[at]
        at += 1
        if shift == 63 and byte != 1:
            return value, -1
        value |= np.uint64(byte & 0x7F) << np.uint64(shift)
        if byte < 0x80:
            return value, at
        shift += 7
    return value, -1


def read_length(raw: A, at: A, end: A) -> Any:
    """(position of the content, its bytes), position -1 when it does not fit."""
    value, at = read_varint(raw, at, end)
    if at < 0 or value > np.uint64(end - at):
        return -1, 0
    return at, np.int64(value)


def starts_with(raw: A, at: A, size: A, word: A) -> Any:
    """Whether these bytes begin with `word`."""
    if size < len(word):
        return False
    for i in range(len(word)):
        if raw[at + i] != word[i]:
            return False
    return True


def same_bytes(raw: A, at: A, other: A, size: A) -> Any:
    """Whether the `size` bytes at these two places are equal."""
    for i in range(size):
        if raw[at + i] != raw[other + i]:
            return False
    return True


def read_metric(raw: A, at: A, end: A, m: A, u: A) -> Any:
    """One metric into `m` and `u`; False for what is not understood."""
    m[M_NAME_AT] = m[M_PROPS_AT] = -1
    m[M_HISTORICAL] = m[M_NULL] = m[M_FIELD] = m[M_HAS_TIME] = 0
    u[U_ALIAS] = 0
    while at < end:
        tag = raw[at]
        at += 1
        if tag & 7 == 0:
            value, at = read_varint(raw, at, end)
            if at < 0:
                return False
            if tag == 0x10:
                u[U_ALIAS] = value
            elif tag == 0x18:
                u[U_TIME] = value
                m[M_HAS_TIME] = 1
            elif tag == 0x58:
                m[M_FIELD] = 11
                u[U_BITS] = value
            elif value > np.uint64(0xFFFFFFFF):
                return False
            elif tag == 0x50:
                m[M_FIELD] = 10
                u[U_BITS] = value
            elif tag == 0x20:
                pass
            elif value > np.uint64(1):
                return False
            elif tag == 0x28:
                m[M_HISTORICAL] = np.int64(value)
            elif tag == 0x38:
                m[M_NULL] = np.int64(value)
            elif tag == 0x70:
                m[M_FIELD] = 14
                u[U_BITS] = value
            elif tag != 0x30:
                return False
        elif tag in (0x69, 0x65):
            size = 8 if tag == 0x69 else 4
            if end - at < size:
                return False
            value = np.uint64(0)
            for i in range(size):
                value |= np.uint64(raw[at + i]) << np.uint64(8 * i)
            at += size
            m[M_FIELD] = 13 if tag == 0x69 else 12
            u[U_BITS] = value
        else:
            at, size = read_length(raw, at, end)
            if at < 0:
                return False
            if tag == 0x0A:
                m[M_NAME_AT], m[M_NAME_BYTES] = at, size
            elif tag == 0x7A:
                m[M_FIELD] = 15
                m[M_TEXT_AT], m[M_TEXT_BYTES] = at, size
            elif tag == 0x4A and m[M_PROPS_AT] < 0:
                m[M_PROPS_AT], m[M_PROPS_BYTES] = at, size
            else:
                return False
            at += size
    return True


def read_property(raw: A, at: A, end: A) -> Any:
    """(ok, which, number, text at, text bytes) of one value; which: -1 null, 0 none, 1 number, 2 text."""
    which, number, text_at, text_bytes, null = 0, np.uint64(0), 0, 0, False
    while at < end:
        tag = raw[at]
        at += 1
        if tag == 0x42:
            at, text_bytes = read_length(raw, at, end)
            if at < 0:
                return False, 0, number, 0, 0
            which, text_at = 2, at
            at += text_bytes
            continue
        value, at = read_varint(raw, at, end)
        if at < 0 or (tag != 0x20 and value > np.uint64(0xFFFFFFFF)):
            return False, 0, number, 0, 0
        if tag in (0x18, 0x20):
            which, number = 1, value
        elif tag == 0x10 and value <= np.uint64(1):
            null = value == np.uint64(1)
        elif tag != 0x08:
            return False, 0, number, 0, 0
    return True, -1 if null else which, number, text_at, text_bytes


def said_code(which: A, number: A) -> Any:
    """The quality that a Quality property says."""
    if which == 0:
        return GOOD
    if number == np.uint64(STALE):
        return STALE
    return GOOD if np.uint64(GOOD) <= number <= np.uint64(GOOD_LAST) else 0


def key_kind(raw: A, at: A, size: A) -> Any:
    """1 for Quality, 2 for Reason, 0 for any other key."""
    if size == 7 and starts_with(raw, at, size, QUALITY_KEY):
        return 1
    if size == 6 and starts_with(raw, at, size, REASON_KEY):
        return 2
    return 0


def read_properties(raw: A, at: A, end: A, p: A) -> Any:
    """A property set of at most one Quality and one Reason into `p`; False for any other."""
    p[P_SAID], p[P_WHY_BYTES] = -1, 0
    first_key, second_key, keys, values = 0, 0, 0, 0
    first_at, first_size, second_at, second_size = 0, 0, 0, 0
    while at < end:
        tag = raw[at]
        at, size = read_length(raw, at + 1, end)
        if at < 0 or keys + (tag == 0x0A) > 2 or values + (tag == 0x12) > 2:
            return False
        if tag == 0x0A:
            kind = key_kind(raw, at, size)
            if kind in (0, first_key):
                return False
            if keys == 0:
                first_key = kind
            else:
                second_key = kind
            keys += 1
        elif tag == 0x12:
            if values == 0:
                first_at, first_size = at, size
            else:
                second_at, second_size = at, size
            values += 1
        else:
            return False
        at += size
    if keys != values:
        return False
    for i in range(keys):
        kind = first_key if i == 0 else second_key
        at, size = (first_at, first_size) if i == 0 else (second_at, second_size)
        ok, which, number, text_at, text_bytes = read_property(raw, at, at + size)
        if not ok:
            return False
        if kind == 1 and which == 2:
            return False
        if kind == 1 and which >= 0:
            p[P_SAID] = said_code(which, number)
        elif kind == 2 and which == 2:
            p[P_WHY_AT], p[P_WHY_BYTES] = text_at, text_bytes
    return True


def intern(raw: A, at: A, size: A, kind: A, texts: A, first: A, count: A, table: A, fact: A) -> Any:
    """(index of this text among the payload's of its kind, texts now), index -1 when there is no room.

    `table` holds places in `texts`; those below `first` are of payloads before and count as free.
    """
    code = np.uint64(0xCBF29CE484222325) + np.uint64(kind)
    letters = np.uint8(0)
    for i in range(at, at + size):
        code = (code ^ np.uint64(raw[i])) * np.uint64(0x100000001B3)
        letters |= raw[i]
    place = np.int64((code ^ (code >> np.uint64(29))) & np.uint64(TABLE - 1))
    for _ in range(PROBES_MAX):
        known = table[place]
        if known < first or known >= count:
            break
        alike = texts[known, TEXT_KIND] == kind and texts[known, TEXT_BYTES] == size
        if alike and same_bytes(raw, at, texts[known, TEXT_AT], size):
            return texts[known, TEXT_INDEX], count
        place = (place + 1) & (TABLE - 1)
    else:
        return -1, count
    if count - first >= TABLE // 2 or count >= len(texts):
        return -1, count
    index = fact[KINDS + kind]
    fact[KINDS + kind] += 1
    texts[count, TEXT_AT], texts[count, TEXT_BYTES] = at, size
    texts[count, TEXT_KIND], texts[count, TEXT_INDEX] = kind, index
    table[place] = count
    if letters >= 0x80:
        fact[FOREIGN_LETTERS] = 1
    return index, count + 1


def read_number(raw: A, at: A, size: A) -> Any:
    """The number in `epoch/number/digest`, 0 when these bytes are not an identity."""
    digits = size - IDENTITY_MIN + 1
    if digits < 1 or digits > NUMBER_DIGITS_MAX or raw[at + 16] != 0x2F or raw[at + size - 65] != 0x2F:
        return 0
    for i in range(size):
        if i == 16 or i == size - 65:
            continue
        byte = raw[at + i]
        decimal = 0x30 <= byte <= 0x39
        if not decimal and (16 < i < size - 65 or not 0x61 <= byte <= 0x66):
            return 0
    if raw[at + 17] == 0x30:
        return 0
    number = np.uint64(0)
    for i in range(at + 17, at + 17 + digits):
        number = number * np.uint64(10) + np.uint64(raw[i] - 0x30)
    return np.int64(number) if number <= np.uint64((1 << 63) - 1) else 0


def outbox_metric(raw: A, m: A, fact: A) -> Any:
    """An identity or clock facts; False for any other metric of ours, and for a second one."""
    if m[M_NULL] != 0 or m[M_FIELD] != 15 or m[M_PROPS_AT] >= 0:
        return False
    at, size = m[M_TEXT_AT], m[M_TEXT_BYTES]
    name_at, name_bytes = m[M_NAME_AT], m[M_NAME_BYTES]
    if name_bytes == len(SEGMENT) and starts_with(raw, name_at, name_bytes, SEGMENT):
        number = read_number(raw, at, size)
        if number == 0 or fact[SEGMENT_BYTES] != 0:
            return False
        fact[SEGMENT_AT], fact[SEGMENT_BYTES], fact[NUMBER] = at, size, number
        return True
    if name_bytes == len(CLOCK) and starts_with(raw, name_at, name_bytes, CLOCK):
        for i in range(at, at + size):
            if raw[i] >= 0x80:
                return False
        if fact[CLOCK_BYTES] >= 0:
            return False
        fact[CLOCK_AT], fact[CLOCK_BYTES] = at, size
        return True
    return False


def value_of(m: A, u: A) -> Any:
    """(field, bits, whether it is a number that is none)."""
    field = 0 if m[M_NULL] != 0 else m[M_FIELD]
    if field == 0:
        return 0, np.uint64(0), False
    bits = u[U_BITS]
    if field == 13 and (bits >> np.uint64(52)) & np.uint64(0x7FF) == np.uint64(0x7FF):
        return 0, np.uint64(0), True
    if field == 12 and (bits >> np.uint64(23)) & np.uint64(0xFF) == np.uint64(0xFF):
        return 0, np.uint64(0), True
    return field, bits, False


def emit(raw: A, m: A, u: A, p: A, row: A, count: A, out: A, table: A, fact: A) -> Any:
    """Writes one reading at `row`; texts now, -1 for what is not understood."""
    key, time_ms, fields, all_bits, qualities, reasons, texts = out
    first = count - fact[TEXTS]
    if m[M_NAME_AT] >= 0:
        index, count = intern(raw, m[M_NAME_AT], m[M_NAME_BYTES], NAME, texts, first, count, table, fact)
        if index < 0:
            return -1
        key[row] = np.uint64(0) - np.uint64(index)
    else:
        if u[U_ALIAS] == 0 or u[U_ALIAS] >= np.uint64(1 << 63):
            return -1
        key[row] = u[U_ALIAS]
    field, bits, infinite = value_of(m, u)
    if field == 15:
        index, count = intern(raw, m[M_TEXT_AT], m[M_TEXT_BYTES], STRING, texts, first, count, table, fact)
        if index < 0:
            return -1
        bits = np.uint64(index)
    quality = 0 if infinite else GOOD
    why_at, why_bytes = 0, len(NOT_A_NUMBER) if infinite else 0
    if m[M_PROPS_AT] >= 0:
        at, size = m[M_PROPS_AT], m[M_PROPS_BYTES]
        if size != p[P_BYTES] or not same_bytes(raw, at, p[P_AT], size):
            p[P_AT], p[P_BYTES] = at, size
            if not read_properties(raw, at, at + size, p):
                p[P_BYTES] = -1
                return -1
        if p[P_SAID] >= 0 and (quality == GOOD or p[P_SAID] == STALE):
            quality = p[P_SAID]
        if why_bytes == 0:
            why_at, why_bytes = p[P_WHY_AT], p[P_WHY_BYTES]
    if why_bytes != p[P_REASON_BYTES] or (why_bytes != 0 and why_at != p[P_REASON_AT]) or p[P_REASON] < 0:
        index, count = intern(raw, why_at, why_bytes, REASON, texts, first, count, table, fact)
        if index < 0:
            return -1
        p[P_REASON_AT], p[P_REASON_BYTES], p[P_REASON] = why_at, why_bytes, index
    fields[row], all_bits[row], qualities[row], reasons[row] = field, bits, quality, p[P_REASON]
    time_ms[row] = np.int64(u[U_TIME])
    fact[TEXTS] = count - first
    return count


def read_payload(raw: A, at: A, end: A, row: A, count: A, out: A, m: A, u: A, p: A, table: A, fact: A) -> Any:
    """One payload from `row` on; (ok, texts now). On failure `fact` tells nothing."""
    fact[:] = 0
    fact[CLOCK_BYTES] = p[P_BYTES] = p[P_REASON] = -1
    first = row
    if end - at > PAYLOAD_BYTES_MAX:
        return False, count
    while at < end:
        tag = raw[at]
        if tag in (0x08, 0x18):
            value, at = read_varint(raw, at + 1, end)
            if at < 0:
                return False, count
            fact[HAS_SENT if tag == 0x08 else HAS_SEQ] = 1
            fact[SENT if tag == 0x08 else SEQ] = np.int64(value)
            continue
        if tag != 0x12:
            return False, count
        at, size = read_length(raw, at + 1, end)
        if at < 0 or not read_metric(raw, at, at + size, m, u):
            return False, count
        at += size
        fact[HISTORICAL] |= m[M_HISTORICAL]
        if m[M_NAME_AT] >= 0 and starts_with(raw, m[M_NAME_AT], m[M_NAME_BYTES], OUTBOX):
            if not outbox_metric(raw, m, fact):
                return False, count
            continue
        if m[M_HAS_TIME] == 0 or u[U_TIME] > np.uint64(TIME_MS_MAX):
            return False, count
        if row - first >= METRICS_MAX - 2 or row >= len(out[0]):
            return False, count
        count = emit(raw, m, u, p, row, count, out, table, fact)
        if count < 0:
            return False, 0
        time_ms = np.int64(u[U_TIME])
        fact[T_MIN] = time_ms if row == first else min(fact[T_MIN], time_ms)
        fact[T_MAX] = time_ms if row == first else max(fact[T_MAX], time_ms)
        row += 1
    fact[OK], fact[ROWS] = 1, row - first
    return True, count


def count(raw: A, offsets: A) -> Any:
    """How many metrics these payloads hold at most, as far as `scan` goes into them."""
    metrics = 0
    for i in range(len(offsets) - 1):
        at, end = offsets[i], offsets[i + 1]
        while 0 <= at < end and raw[at] in (0x08, 0x12, 0x18):
            if raw[at] == 0x12:
                metrics += 1
                at, size = read_length(raw, at + 1, end)
                at += size
            else:
                _, at = read_varint(raw, at + 1, end)
    return metrics


def scan(raw: A, offsets: A, out: A, work: A, facts: A) -> Any:
    """All payloads: those between `offsets` of `raw`. (readings, texts) written; a row of `facts` for each.

    out: the columns of a block and `texts`. work: m, u, p and the table.
    """
    m, u, p, table = work
    rows = count = 0
    for i in range(len(facts)):
        fact = facts[i]
        ok, now = read_payload(raw, offsets[i], offsets[i + 1], rows, count, out, m, u, p, table, fact)
        if ok:
            rows += fact[ROWS]
            count = now
        else:
            fact[:] = 0
    return rows, count
