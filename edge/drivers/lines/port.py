"""The port to a line: what a poller asks of it, what it gets, and the rules that every line keeps.

Owns the lock of a physical line (one, whatever the unit), its time-outs, and how much of its time silent
devices may take. Must not know points, slots or frames.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from gateway.contract.reading import Reason

if TYPE_CHECKING:
    from edge.config import BusSection
    from edge.model.plan import Request

CONNECT_TIMEOUT_S: Final = 3.0
"""Two SYNs of the kernel: longer waits only delay the device's own missed slots."""
PROBE_SHARE: Final = 0.1
"""How much of a line's time probes of silent devices may hold it."""
_EXCEPTIONS: Final = {code: Reason(f"exception_{code}") for code in (1, 2, 3, 4, 5, 6, 8, 10, 11)}


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """Registers uint16[count] (bits as 0 or 1), when the question was sent and when the answer was there.

    The device read them at some instant in between: the reading is stamped at the middle.
    """

    registers: NDArray[np.uint16]
    sent_ns: int
    mono_ns: int
    wall_ns: int

    @property
    def half_ns(self) -> int:
        """Half of the time between question and answer: the stamp is right to plus or minus this."""
        return (self.mono_ns - self.sent_ns) // 2

    @property
    def mid_mono_ns(self) -> int:
        return self.mono_ns - self.half_ns

    @property
    def mid_wall_ns(self) -> int:
        return self.wall_ns - self.half_ns


class ReadError(Exception):
    """A question without a usable answer: why, in the closed list and in words."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class StoppingError(Exception):
    """The agent stops before the question was asked: no slot was missed by the device."""


def refused(code: int) -> ReadError:
    """An exception answer as a ReadError."""
    return ReadError(_EXCEPTIONS.get(code, Reason.EXCEPTION_OTHER), f"the device answered exception {code}")


class Line(Protocol):
    """One physical line."""

    @property
    def rules(self) -> Rules:
        """Time-outs, retries, pauses and the lock."""

    async def ask(self, unit: int, request: Request, stop: asyncio.Event) -> Answer:
        """One question and its answer, however late within the line's patience.

        Raises ReadError, or StoppingError when `stop` was set before the question left.
        """

    def close(self) -> None:
        """At once; a question under way ends as disconnected."""


@dataclass(slots=True)
class Rules:
    """What holds for every question on one line."""

    timeout_s: float
    retries: int
    pause_s: float
    late_s: float
    """How long after its time-out an answer is still waited for, the unit being asked nothing else."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    probe_ns: int = 0
    """No silent device is probed before this monotonic instant."""
    probing: bool = False

    @classmethod
    def of(cls, section: BusSection) -> Rules:
        """The rules that a `[[bus]]` describes."""
        return cls(
            timeout_s=section.timeout_ms / 1000,
            retries=section.retries,
            pause_s=section.pause_ms / 1000,
            late_s=section.patience_ms / 1000,
        )

    def probed(self, now_ns: int) -> None:
        """A probe was in vain and held the line for one time-out: the next one has to wait."""
        self.probe_ns = now_ns + int((self.timeout_s + self.pause_s) * (1 / PROBE_SHARE - 1) * 1e9)
