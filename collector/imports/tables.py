"""A file of unknown make as a table: encoding, delimiter, header, rows and what stands above them.

Owns the finding of the table in CSV variants of loggers. Pure. Must not know what a column means
(`mapping`). What is no table is said so and never guessed into one.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from collector.imports.stamps import looks_like_time

ROWS_MAX: Final = 500_000
"""Rows of one file: a logger's memory holds some 100,000."""
COLUMNS_MAX: Final = 64
_DELIMITERS: Final = (";", "\t", ",", "|")
_NUMBER: Final = re.compile(r"[-+]?\d+([.,]\d+)?([eE][-+]?\d+)?")
_LOOK_ROWS: Final = 200
"""Rows that are looked at to find the table: preambles of loggers have some tens of lines."""


class NoTableError(ValueError):
    """The file is no table of readings; the message says what it seems to be."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of texts under unique headers. `preamble`: the lines above, as written."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    preamble: tuple[str, ...]
    delimiter: str
    encoding: str


def read_table(content: bytes) -> Table:
    """The table in a logger's file. Raises NoTableError."""
    if content.startswith(b"%PDF"):
        raise NoTableError("a PDF: it is kept as evidence; export the readings as CSV")
    if content.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise NoTableError("a spreadsheet or archive: it is kept as evidence; export the readings as CSV")
    text, encoding = _decoded(content)
    found = [one for one in (_with(text, delimiter) for delimiter in _DELIMITERS) if one is not None]
    if not found:
        raise NoTableError("no rows with a time and a number were found")
    preamble, header, rows, delimiter = max(found, key=lambda one: (len(one[2]), len(one[1])))
    if len(rows) > ROWS_MAX:
        raise NoTableError(f"{len(rows)} rows: at most {ROWS_MAX} are taken from one file; divide it")
    return Table(header, rows, preamble, delimiter, encoding)


def is_number(text: str) -> bool:
    """A number with a point or comma."""
    return _NUMBER.fullmatch(text.strip()) is not None


def _decoded(content: bytes) -> tuple[str, str]:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif b"\x00" in content[:4096]:
        raise NoTableError("no text: it is kept as evidence")
    else:
        encoding = "utf-8-sig"
    try:
        return content.decode(encoding), encoding.removesuffix("-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace"), "cp1252"


Found = tuple[tuple[str, ...], tuple[str, ...], tuple[tuple[str, ...], ...], str]


def _with(text: str, delimiter: str) -> Found | None:
    """(preamble, header, rows, delimiter) read with this delimiter."""
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error:
        return None
    first = next((at for at, cells in enumerate(lines[:_LOOK_ROWS]) if _is_data(cells)), None)
    if first is None:
        return None
    width = len(_trimmed(lines[first]))
    if not 2 <= width <= COLUMNS_MAX:
        return None
    above = [at for at in range(first) if any(cell.strip() for cell in lines[at])]
    head_at = above[-1] if above and len(_trimmed(lines[above[-1]])) >= 2 else None
    names = [] if head_at is None else [cell.strip() for cell in lines[head_at]]
    rows = tuple(
        tuple(cell.strip() for cell in (*cells, *[""] * width)[: max(width, 2)])
        for cells in lines[first:]
        if any(cell.strip() for cell in cells)
    )
    preamble = tuple(
        delimiter.join(cells).strip(delimiter) for at, cells in enumerate(lines[:first]) if at != head_at
    )
    return preamble, _unique(names, width), rows, delimiter


def _trimmed(cells: Sequence[str]) -> list[str]:
    """Without the empty cells at the end: a trailing delimiter is no column."""
    out = list(cells)
    while out and not out[-1].strip():
        out.pop()
    return out


def _is_data(cells: Sequence[str]) -> bool:
    """A row with a time and a number."""
    times = [at for at, cell in enumerate(cells) if looks_like_time(cell)]
    return bool(times) and any(at not in times and is_number(cell) for at, cell in enumerate(cells))


def _unique(names: Sequence[str], width: int) -> tuple[str, ...]:
    """A name for every column, each once."""
    out: list[str] = []
    for at in range(width):
        name = (names[at] if at < len(names) else "") or f"column {at + 1}"
        out.append(name if name not in out else f"{name} ({at + 1})")
    return tuple(out)
