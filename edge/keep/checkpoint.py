"""A checkpoint of the detectors: one file that is whole or not there.

Owns its form: magic, length and JSON head, raw arrays, CRC-32; written beside, synced, renamed, folder
synced. Must not know what is in it.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MAGIC: Final = b"TLMD\x01"


class CheckpointError(ValueError):
    """The file is no checkpoint, or not a whole one."""


def packed(document: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Document and arrays as bytes."""
    plain = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    shapes = {name: [array.dtype.str, list(array.shape)] for name, array in plain.items()}
    head = json.dumps({"document": document, "arrays": shapes}, separators=(",", ":")).encode()
    body = MAGIC + len(head).to_bytes(8, "little") + head + b"".join(a.tobytes() for a in plain.values())
    return body + zlib.crc32(body).to_bytes(4, "little")


def unpacked(raw: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The same back. Raises CheckpointError."""
    body, crc = raw[:-4], raw[-4:]
    if not body.startswith(MAGIC) or zlib.crc32(body).to_bytes(4, "little") != crc:
        raise CheckpointError("it is damaged or of another form")
    begin = len(MAGIC) + 8
    length = int.from_bytes(body[len(MAGIC) : begin], "little")
    head = json.loads(body[begin : begin + length])
    at = begin + length
    arrays: dict[str, NDArray[Any]] = {}
    for name, (kind, shape) in head["arrays"].items():
        dtype = np.dtype(kind)
        count = int(np.prod(shape, dtype=np.int64))
        arrays[name] = np.frombuffer(body, dtype, count, at).reshape(shape).copy()
        at += count * dtype.itemsize
    return head["document"], arrays


def write(path: Path, raw: bytes) -> None:
    """Replace the file at once. Blocking; raises OSError."""
    beside = path.with_name(path.name + ".new")
    with beside.open("wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
