"""Codes of a scanner: bytes into codes, and codes into acts.

Owns framing (CR, LF), what is no usable code, repeats, control barcodes and badges. A code is kept
verbatim, prefixes and separators of GS1 and ISBT 128 included. Pure: time is given, nothing waits.
Must not know serial lines, events or where acts are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from gateway.contract.events import DoorAct

CODE_CHARS_MAX: Final = 200
"""What an event holds; the longest GS1 DataMatrix labels of a bag stay below."""
LINE_BYTES_MAX: Final = 4096
"""Bytes without an end of line: more is noise, or a scanner at another speed."""
SEPARATORS: Final = "\x1d\x1e\x04"
"""Controls that belong to a code: FNC1 as group separator, record separator, end of transmission."""
CONTROL: Final = "TELOMERE:"
"""Every built-in control barcode begins so: TELOMERE:TAKE_OUT, TELOMERE:BADGE:anna."""
BADGE: Final = "TELOMERE:BADGE:"
CANCEL: Final = "TELOMERE:CANCEL"
CONTROLS: Final[Mapping[str, DoorAct]] = {
    "TELOMERE:PUT_IN": "put_in",
    "TELOMERE:TAKE_OUT": "take_out",
    "TELOMERE:MOVE": "move",
    "TELOMERE:RECEIVE": "receive",
    "TELOMERE:HAND_OVER": "hand_over",
}
CONTROL_NS: Final = 60 * 10**9
"""A control barcode counts for the next code, and for a minute: the next person must not inherit it."""
BADGE_NS: Final = 300 * 10**9
"""A badge names the actor until nothing was scanned for five minutes."""


@dataclass(frozen=True, slots=True)
class Code:
    """One code as scanned."""

    text: str


@dataclass(frozen=True, slots=True)
class Unusable:
    """Bytes that are no code, and why."""

    raw: bytes
    problem: str


class Framer:
    """Bytes as they come into codes: each ends with CR, LF or both."""

    def __init__(self) -> None:
        self._rest = b""
        self._noise = False

    @property
    def unfinished(self) -> bool:
        """Bytes wait for the end of their line."""
        return bool(self._rest) or self._noise

    def feed(self, data: bytes) -> Iterator[Code | Unusable]:
        """Codes that end in these bytes."""
        *lines, rest = (self._rest + data).replace(b"\r", b"\n").split(b"\n")
        self._rest = rest
        for line in lines:
            if self._noise:
                self._noise = False  # the end of what was told as too long
            elif line:
                yield _code(line)
        if len(rest) > LINE_BYTES_MAX:
            self._rest = b""
            if not self._noise:
                yield Unusable(rest[:CODE_CHARS_MAX], f"over {LINE_BYTES_MAX} bytes without CR or LF")
            self._noise = True

    def give_up(self) -> Iterator[Unusable]:
        """The line was lost, or has been silent: what has begun will not end."""
        rest, self._rest, self._noise = self._rest, b"", False
        if rest:
            yield Unusable(rest, "no CR or LF at its end")


def _code(line: bytes) -> Code | Unusable:
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return Unusable(line, "not UTF-8: is the speed of the line right?")
    if len(text) > CODE_CHARS_MAX:
        return Unusable(line, f"longer than {CODE_CHARS_MAX} characters")
    if not text.strip() or any(not c.isprintable() and c not in SEPARATORS for c in text):
        return Unusable(line, "holds characters that no label has: is the speed of the line right?")
    return Code(text)


@dataclass(frozen=True, slots=True)
class Taken:
    """A code that names what something was done to."""

    code: str
    act: DoorAct
    actor: str


@dataclass(frozen=True, slots=True)
class Armed:
    """A control barcode: what the next code will mean, or who scans; `sentence` for the person."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Repeat:
    """The same code again, too soon to be meant."""

    code: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """It begins like a control barcode and is none: never a batch."""

    code: str


Heard: TypeAlias = Taken | Armed | Repeat | Unknown


class Reader:
    """What the codes of one scanner mean, one after another."""

    def __init__(
        self, *, act: DoorAct, actor: str = "", repeat_ms: int = 2000, controls: Mapping[str, DoorAct] = {}
    ) -> None:
        self._act = act
        self._actor = actor
        self._repeat_ns = repeat_ms * 1_000_000
        self._controls = {**CONTROLS, **controls}
        self._armed: tuple[DoorAct, int] | None = None
        self._badge: tuple[str, int] | None = None
        self._last: tuple[str, int] | None = None

    def read(self, code: str, *, now_ns: int) -> Heard:
        """What this code means; `now_ns` never runs back."""
        before, self._last = self._last, (code, now_ns)
        if before is not None and before[0] == code and now_ns - before[1] < self._repeat_ns:
            return Repeat(code)
        actor = self._who(now_ns)
        act = self._controls.get(code)
        if act is not None:
            self._armed = (act, now_ns)
            return Armed(f"the next code: {act.replace('_', ' ')}")
        if code == CANCEL:
            self._armed = self._badge = None
            return Armed(f"the next code: {self._act.replace('_', ' ')}")
        if code.startswith(BADGE) and len(code) > len(BADGE):
            self._badge = (code.removeprefix(BADGE), now_ns)
            return Armed(f"scanned by {self._badge[0]}")
        if code.startswith(CONTROL):
            return Unknown(code)
        armed, self._armed = self._armed, None
        meant = self._act if armed is None or now_ns - armed[1] > CONTROL_NS else armed[0]
        return Taken(code, meant, actor)

    def _who(self, now_ns: int) -> str:
        if self._badge is not None:
            name, since = self._badge
            self._badge = (name, now_ns) if now_ns - since <= BADGE_NS else None
        return self._actor if self._badge is None else self._badge[0]
