"""The truth file: what the simulated field truly gave out, one JSON line an answer, as it is sent.

Owns the file's form (docs/operators/sensors.md). An answer that nobody can use (`usable` false) is
written too. Must not decide what is sent.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO


class Truth:
    """Appends to a file, or to nothing. Times are wall and monotonic nanoseconds of this machine."""

    def __init__(self, path: Path | None) -> None:
        self._file: TextIO | None = None if path is None else path.open("a", encoding="utf-8")
        self.answers = 0

    def note(self, kind: str, content: Mapping[str, Any]) -> None:
        """One line now. `kind` is start, answer, refused, heard_write or message."""
        self.answers += kind == "answer"
        if self._file is None:
            return
        line = {"kind": kind, "time_ns": time.time_ns(), "mono_ns": time.monotonic_ns(), **content}
        self._file.write(json.dumps(line, separators=(",", ":")) + "\n")

    def flush(self) -> None:
        """Everything noted so far reaches the file."""
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
