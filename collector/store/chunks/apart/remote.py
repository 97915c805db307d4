"""A `Sealer` that works in another process: the same questions, asked over a pipe.

Owns the process: begun when there is something to seal, begun again after it ended, ended with the
collector. Its death is an error of the step in hand and nothing else: rounds are whole or not there, and
the cursor is read from the file again. Blocking; used by one thread at a time, but for `interrupt`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from collector.store.chunks.file import CHUNKS_NAME, cursor_of, open_for
from collector.store.chunks.seal import Sealed
from collector.store.ledger.reading import LedgerReading
from collector.store.projection import Projection

END_S: Final = 5.0
"""How long the process may take to end once its input is closed; then it is killed."""


class SealingError(Exception):
    """The process could not do it, or ended; what it had sealed before is there."""


class RemoteSealer:
    """Makes chunks.db ready for reading at once; the process comes with the first step."""

    def __init__(self, data_dir: Path, *, ledger: LedgerReading, projection: Projection) -> None:
        self._data_dir = data_dir
        self._ledger = ledger
        self._projection = projection
        self._child: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self._is_over = False
        self._untidy = False
        self._followed = 0
        """Removals that the chunks are known to have followed."""
        connection = open_for(data_dir / CHUNKS_NAME, ledger_id=ledger.id, last_id=ledger.last_id())
        try:
            self._cursor = cursor_of(connection)
        finally:
            connection.close()

    @property
    def cursor(self) -> int:
        """The last ledger id that is sealed."""
        return self._cursor

    @property
    def untidy(self) -> bool:
        """Whether `tidy` has work."""
        return self._untidy

    @property
    def behind_removals(self) -> bool:
        """Whether `drop` may have work."""
        return self._followed < len(self._ledger.removals())

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        child = self._child
        return None if child is None else child.pid

    def waiting(self) -> int:
        """How many entries are projected and not sealed."""
        return max(0, self._projection.cursor() - self._cursor)

    def step(self) -> Sealed:
        """One round. Raises SealingError."""
        answer = self._ask("step")
        return Sealed(int(answer["entries"]), int(answer["readings"]), self._cursor)

    def tidy(self) -> int:
        """Merge a few cells; how many pieces are gone. Raises SealingError."""
        return int(self._ask("tidy")["gone"])

    def drop(self) -> int:
        """Follow one removal; how many readings went. Raises SealingError."""
        there = len(self._ledger.removals())
        answer = self._ask("drop")
        if not answer["behind_removals"]:
            self._followed = there
        return int(answer["gone"])

    def interrupt(self) -> None:
        """Give up what is in hand, for good: any thread may call. The next start seals it."""
        with self._lock:
            self._is_over = True
            if self._child is not None:
                self._child.kill()

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._is_over = True
            child, self._child = self._child, None
        if child is not None:
            _end(child)

    def _ask(self, what: str) -> dict[str, Any]:
        child = self._begun()
        assert child.stdin is not None and child.stdout is not None, "pipes were asked for"  # noqa: PT018
        line = ""
        with suppress(OSError):  # it ended: there is no answer either
            child.stdin.write(json.dumps({"do": what, "last_id": self._ledger.last_id()}) + "\n")
            child.stdin.flush()
            line = child.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line.endswith("\n") else {}
        if not answer or "error" in answer:
            with self._lock:
                self._child = None
            code = _end(child)
            raise SealingError(answer.get("error") or _why_ended(code))
        self._cursor, self._untidy = int(answer["cursor"]), bool(answer["untidy"])
        return answer

    def _begun(self) -> subprocess.Popen[str]:
        with self._lock:
            if self._is_over:
                raise SealingError("the collector stops")
            if self._child is not None and self._child.poll() is None:
                return self._child
            self._untidy = False
            self._child = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "collector.store.chunks.apart.worker",
                    str(self._data_dir),
                    self._ledger.id,
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            return self._child


def _end(child: subprocess.Popen[str]) -> int:
    """Nobody asks any more: its exit code."""
    assert child.stdin is not None, "it was asked for"
    assert child.stdout is not None, "it was asked for"
    with suppress(OSError):  # what was not read any more cannot be written either
        child.stdin.close()
    try:
        child.wait(END_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    child.stdout.close()
    return child.returncode


def _why_ended(code: int) -> str:
    how = f"was killed (signal {-code})" if code < 0 else f"ended with {code}"
    return f"the sealing process {how}; it is begun again"
