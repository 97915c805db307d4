"""A barcode scanner on a serial line: every code once, whatever the line does.

Owns the line (8N1, raw, by termios) and its coming back after a scanner was unplugged. Nothing is
written to the line but a BEL, and only where `beep` is set. Must not know what codes mean (`codes`)
nor how events are kept (`book`).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import termios
import uuid
from typing import Any, Final

import structlog

from edge.config import ScannerSection
from edge.doors.book import Book
from edge.doors.codes import Code, Framer, Reader, Repeat, Taken, Unknown, Unusable
from gateway.contract.events import Event, Note, Scan

log = structlog.get_logger()

AGAIN_S: Final = 1.0
"""Pause before an absent scanner is looked for again: plugging one in takes a person longer."""
SILENT_S: Final = 1.0
"""A code comes in milliseconds; one that has not ended after a second never will."""
READ_BYTES_MAX: Final = 4096
_BEL: Final = b"\x07"


class Scanner:
    """The task of one scanner."""

    def __init__(self, *, section: ScannerSection, book: Book) -> None:
        self._section = section
        self._book = book
        self._reader = Reader(
            act=section.act,
            actor=section.actor,
            repeat_ms=section.repeat_ms,
            controls=section.controls,
        )
        self._away = False
        self.present = asyncio.Event()
        """Set while the line is open."""

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; an absent scanner never ends it."""
        stopping: asyncio.Future[Any] = asyncio.ensure_future(stop.wait())
        try:
            while not stop.is_set():
                try:
                    line = _open(*self._section.line)
                except (OSError, termios.error) as error:
                    self._lost(str(error))
                    await asyncio.wait({stopping}, timeout=AGAIN_S)
                    continue
                try:
                    self._found()
                    await self._listen(line, stopping)
                finally:
                    self.present.clear()
                    with contextlib.suppress(OSError):
                        os.close(line)
        finally:
            stopping.cancel()

    def _lost(self, cause: str) -> None:
        """Told once, and its return once."""
        if not self._away:
            self._book.tell(self._section.id, f"the scanner is away ({cause})", ok=False)
        self._away = True

    def _found(self) -> None:
        if self._away:
            self._book.tell(self._section.id, "the scanner is back")
        self._away = False
        self.present.set()

    async def _listen(self, line: int, stopping: asyncio.Future[Any]) -> None:
        """One opened line until it is lost or the agent stops."""
        loop = asyncio.get_running_loop()
        framer, ready = Framer(), asyncio.Event()
        loop.add_reader(line, ready.set)
        try:
            while not stopping.done():
                waiting: asyncio.Future[Any] = asyncio.ensure_future(ready.wait())
                silent_s = SILENT_S if framer.unfinished else None
                await asyncio.wait({waiting, stopping}, timeout=silent_s, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                if not ready.is_set():
                    self._unusable(line, framer)
                    continue
                ready.clear()
                data = _read(line)
                if data is None:
                    self._lost("unplugged, or its line was closed")
                    break
                for heard in framer.feed(data):
                    self._hear(line, heard)
        finally:
            loop.remove_reader(line)
            self._unusable(line, framer)

    def _unusable(self, line: int, framer: Framer) -> None:
        for heard in framer.give_up():
            self._hear(line, heard)

    def _hear(self, line: int, heard: Code | Unusable) -> None:
        section, now = self._section, self._book.now()
        if isinstance(heard, Unusable):
            shown = heard.raw.decode("ascii", "backslashreplace")
            self._refuse(line, f"not usable as a code: {shown!r}, {heard.problem}; scan it again")
            return
        meant = self._reader.read(heard.text, now_ns=self._book.mono_ns())
        if isinstance(meant, Taken):
            scan = Scan(
                id=uuid.uuid4().hex,
                time=now,
                actor=meant.actor,
                act=meant.act,
                batch=meant.code,
                equipment=section.equipment,
                door=section.id,
            )
            said = f"{meant.act.replace('_', ' ')}: {meant.code} at {section.equipment}"
            self._keep(line, scan, said)
        elif isinstance(meant, Unknown):
            self._refuse(line, f"{meant.code} is no control barcode of this scanner; nothing was recorded")
        elif isinstance(meant, Repeat):
            log.info("same code again", door=section.id, code=meant.code)
        else:
            self._book.tell(section.id, meant.sentence)
            self._beep(line, 1)

    def _keep(self, line: int, event: Event, said: str) -> None:
        done = self._book.take(event, door=self._section.id, sentence=said)
        done.add_done_callback(lambda _: self._beep(line, 1))

    def _refuse(self, line: int, said: str) -> None:
        """Nothing that was said at a door is lost: what is no scan is a note."""
        section = self._section
        self._book.tell(section.id, said, ok=False)
        note = Note(
            id=uuid.uuid4().hex,
            time=self._book.now(),
            note=f"scanner {section.id}: {said}",
            equipment=section.equipment,
        )
        self._book.take(note, door=section.id, sentence="kept as a note")
        self._beep(line, 3)

    def _beep(self, line: int, times: int) -> None:
        """One BEL when it is on disk, three for a refusal; a scanner that cannot hear it loses nothing."""
        if self._section.beep and self.present.is_set():
            with contextlib.suppress(OSError):
                os.write(line, _BEL * times)


def _open(path: str, baud: int) -> int:
    """The line, raw, 8N1, for us alone. Raises OSError or termios.error."""
    line = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        speed = getattr(termios, f"B{baud}")
        control: list[bytes | int] = [0] * len(termios.tcgetattr(line)[6])
        control[termios.VMIN], control[termios.VTIME] = 1, 0
        mode = termios.CS8 | termios.CREAD | termios.CLOCAL
        termios.tcsetattr(line, termios.TCSANOW, [0, 0, mode, 0, speed, speed, control])
        fcntl.ioctl(line, termios.TIOCEXCL)
    except (OSError, termios.error):
        os.close(line)
        raise
    return line


def _read(line: int) -> bytes | None:
    """What has come; None when the line is gone."""
    try:
        return os.read(line, READ_BYTES_MAX) or None
    except BlockingIOError:
        return b""
    except OSError:
        return None
