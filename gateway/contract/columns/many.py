"""A list of data payloads as columns over all their readings, and as `Data` one by one.

Owns the choice between the kernel and the plain decoder, payload by payload, and the texts. Columns are
those of `Block`, in the order of the payloads; a name, string or reason is numbered within its payload.
Must not know ledgers or topics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gateway.contract.columns import compiled, scan
from gateway.contract.decode import COLUMNS, Data, decode_data
from gateway.contract.reading import Block
from gateway.contract.segment import Clock, SegmentId
from gateway.contract.wire import PayloadError

Texts: TypeAlias = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
"""The names, strings and reasons of one payload."""
NO_TEXTS: Final[Texts] = ((), (), ())
ALL_GOOD: Final[Texts] = ((), (), ("",))
_MASK: Final = (1 << 64) - 1
_TEXT_BYTES_MIN: Final = 8
_TEXTS_SPARE: Final = 4
"""Room for texts: one in 8 bytes and some a payload. What needs more is left to the plain decoder."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Columns:
    """n payloads. key … reason: as in `Block`, over all readings; those of payload i are in `rows(i)`.

    start i64[n + 1]: where the readings of each payload begin. t_min_ms, t_max_ms i64[n]: 0 without
    readings. historical bool[n]. number i64[n]: of the identity, 0 without a usable one. A payload that
    cannot be decoded has no readings; `data` and `block` raise its PayloadError.
    """

    key: NDArray[np.uint64]
    time_ms: NDArray[np.int64]
    field: NDArray[np.uint8]
    bits: NDArray[np.uint64]
    quality: NDArray[np.uint16]
    reason: NDArray[np.uint16]
    start: NDArray[np.int64]
    t_min_ms: NDArray[np.int64]
    t_max_ms: NDArray[np.int64]
    historical: NDArray[np.bool_]
    number: NDArray[np.int64]
    plain: dict[int, Data | PayloadError]
    """What the plain decoder read, by payload."""
    _raw: bytes
    _facts: NDArray[np.int64]
    _said: list[list[int]]
    """The same, quicker to take one number from."""
    _texts: NDArray[np.int64]
    _text_start: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.start) - 1

    @property
    def nbytes(self) -> int:
        """Bytes of memory that stay in use with it, texts included."""
        columns = (self.key, self.time_ms, self.field, self.bits, self.quality, self.reason)
        return sum(c.nbytes for c in columns) + len(self._raw) + self._facts.nbytes + self._texts.nbytes

    def rows(self, at: int) -> slice:
        """The readings of one payload."""
        return slice(int(self.start[at]), int(self.start[at + 1]))

    def error(self, at: int) -> PayloadError | None:
        """Why this payload cannot be decoded, None when it can."""
        found = self.plain.get(at)
        return found if isinstance(found, PayloadError) else None

    def texts(self, at: int) -> Texts:
        """The names, strings and reasons of one payload."""
        known = self.plain.get(at)
        if isinstance(known, Data):
            return known.block.names, known.block.strings, known.block.reasons
        if not self._said[at][scan.TEXTS]:
            return NO_TEXTS
        first, end = int(self._text_start[at]), int(self._text_start[at + 1])
        if end - first == 1 and self._is_good(first):
            return ALL_GOOD
        found: tuple[list[str], list[str], list[str]] = ([], [], [])
        for begin, size, kind, _ in self._texts[first:end].tolist():
            found[kind].append(self._raw[begin : begin + size].decode())
        return tuple(found[0]), tuple(found[1]), tuple(found[2])

    def _is_good(self, text: int) -> bool:
        _, size, kind, _ = self._texts[text].tolist()
        return bool(size == 0 and kind == scan.REASON)

    def span(self, at: int) -> tuple[int, int, int] | None:
        """(t_min_ms, t_max_ms, readings) of one payload, None without readings."""
        said = self._said[at]
        return (said[scan.T_MIN], said[scan.T_MAX], said[scan.ROWS]) if said[scan.ROWS] else None

    def block(self, at: int) -> Block:
        """The readings of one payload; its columns are views. Raises PayloadError."""
        known = self.plain.get(at)
        if isinstance(known, PayloadError):
            raise known
        a, b = int(self.start[at]), int(self.start[at + 1])
        return Block(
            self.key[a:b],
            self.time_ms[a:b],
            self.field[a:b],
            self.bits[a:b],
            self.quality[a:b],
            self.reason[a:b],
            *self.texts(at),
        )

    def segment_text(self, at: int) -> str | None:
        """`Outbox/Segment` as sent."""
        known = self.plain.get(at)
        if known is not None:
            return known.segment_text if isinstance(known, Data) else None
        begin, size = self._said[at][scan.SEGMENT_AT : scan.SEGMENT_BYTES + 1]
        return self._raw[begin : begin + size].decode() if size else None

    def segment(self, at: int) -> SegmentId | None:
        """The identity, None without a usable one."""
        known = self.plain.get(at)
        if known is not None:
            return known.segment if isinstance(known, Data) else None
        text = self.segment_text(at)
        return text if text is None else SegmentId(text[:16], self._said[at][scan.NUMBER], text[-64:])

    def clock_text(self, at: int) -> str | None:
        """`Outbox/Clock` as sent."""
        known = self.plain.get(at)
        if known is not None:
            return known.clock_text if isinstance(known, Data) else None
        begin, size = self._said[at][scan.CLOCK_AT : scan.CLOCK_BYTES + 1]
        return self._raw[begin : begin + size].decode() if size >= 0 else None

    def seq(self, at: int) -> int | None:
        """The envelope's number."""
        known = self.plain.get(at)
        if known is not None:
            return known.seq if isinstance(known, Data) else None
        has, value = self._said[at][scan.HAS_SEQ : scan.SEQ + 1]
        return value & _MASK if has else None

    def data(self, at: int) -> Data:
        """Everything of one payload, as `decode_data` tells it. Raises PayloadError."""
        known = self.plain.get(at)
        if isinstance(known, Data):
            return known
        block = self.block(at)
        has, sent = self._said[at][scan.HAS_SENT : scan.SENT + 1]
        segment, clock = self.segment(at), self.clock_text(at)
        return Data(
            sent_ms=sent & _MASK if has else None,
            seq=self.seq(at),
            historical=bool(self.historical[at]),
            segment=segment,
            segment_text=None if segment is None else str(segment),
            clock=None if clock is None else _clock(clock),
            clock_text=clock,
            block=block,
            status={},
        )


def decode_many(payloads: Sequence[bytes]) -> Columns:
    """Every payload as `decode_data` reads it, in one go where the kernel is compiled (`warm`)."""
    kernels = compiled.ready()
    n = len(payloads)
    facts = np.zeros((n, scan.FACTS), np.int64)
    raw = scan.NOT_A_NUMBER + b"".join(payloads) if kernels else b""
    texts = np.zeros((0, scan.TEXT_COLUMNS), np.int64)
    columns: list[NDArray[Any]] = [np.zeros(0, dtype) for dtype in COLUMNS]
    if kernels is not None:
        sizes = accumulate(map(len, payloads), initial=len(scan.NOT_A_NUMBER))
        offsets = np.fromiter(sizes, np.int64, count=n + 1)
        letters = np.frombuffer(raw, np.uint8)
        rows = kernels.count(letters, offsets)
        room = compiled.room(
            rows=rows, texts=min(len(raw) // _TEXT_BYTES_MIN + _TEXTS_SPARE * n, 3 * rows) + 1
        )
        rows, found = kernels.scan(letters, offsets, room, compiled.scratch(), facts)
        columns, texts = [column[:rows] for column in room[:-1]], room[-1][:found].copy()
    made = _columns(columns, raw=raw, facts=facts, texts=texts, plain={})
    slow = facts[:, scan.OK] == 0
    slow[facts[:, scan.FOREIGN_LETTERS] != 0] |= True
    left = [at for at in np.nonzero(slow)[0].tolist() if not facts[at, scan.OK] or not _is_readable(made, at)]
    return _with_plain(made, payloads, left) if left else made


def _clock(text: str) -> Clock | None:
    try:
        return Clock.parse(text)
    except ValueError:
        return None


def _is_readable(columns: Columns, at: int) -> bool:
    try:
        columns.texts(at)
    except UnicodeDecodeError:
        return False
    return True


def _columns(
    columns: Sequence[NDArray[Any]],
    *,
    raw: bytes,
    facts: NDArray[np.int64],
    texts: NDArray[np.int64],
    plain: dict[int, Data | PayloadError],
) -> Columns:
    key, time_ms, field, bits, quality, reason = columns
    return Columns(
        key=key,
        time_ms=time_ms,
        field=field,
        bits=bits,
        quality=quality,
        reason=reason,
        start=_starts(facts[:, scan.ROWS]),
        t_min_ms=facts[:, scan.T_MIN],
        t_max_ms=facts[:, scan.T_MAX],
        historical=facts[:, scan.HISTORICAL] != 0,
        number=facts[:, scan.NUMBER],
        plain=plain,
        _raw=raw,
        _facts=facts,
        _said=facts.tolist(),
        _texts=texts,
        _text_start=_starts(facts[:, scan.TEXTS]),
    )


def _starts(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))


def _with_plain(made: Columns, payloads: Sequence[bytes], left: Sequence[int]) -> Columns:
    """The same with these payloads read by the plain decoder, everything in the payloads' order again."""
    facts = made._facts.copy()  # noqa: SLF001 - of our own making
    plain: dict[int, Data | PayloadError] = {}
    for at in left:
        facts[at, [scan.ROWS, scan.T_MIN, scan.T_MAX, scan.HISTORICAL, scan.NUMBER]] = 0
        try:
            data = plain[at] = decode_data(payloads[at])
        except PayloadError as error:
            plain[at] = error
            continue
        facts[at, scan.HISTORICAL] = data.historical
        facts[at, scan.NUMBER] = 0 if data.segment is None else data.segment.number
        facts[at, scan.ROWS] = len(data.block)
        if len(data.block):
            times = data.block.time_ms
            facts[at, scan.T_MIN], facts[at, scan.T_MAX] = int(times.min()), int(times.max())
    joined = [
        _joined(getattr(made, name), made, plain, name)
        for name in ("key", "time_ms", "field", "bits", "quality", "reason")
    ]
    return _columns(joined, raw=made._raw, facts=facts, texts=made._texts, plain=plain)  # noqa: SLF001


def _joined(
    column: NDArray[Any], made: Columns, plain: dict[int, Data | PayloadError], name: str
) -> NDArray[Any]:
    pieces, begin = [], 0
    for at, data in plain.items():
        end = int(made.start[at])
        pieces.append(column[begin:end])
        if isinstance(data, Data):
            pieces.append(getattr(data.block, name))
        begin = int(made.start[at + 1])
    return np.concatenate([*pieces, column[begin:]])
