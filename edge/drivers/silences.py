"""The silences of one source: what its sensors did not say, as readings without value and absences.

Owns the account of every heard point that has a period, and which devices are told as gone: those of
which no such point is heard any more. Points without a period owe nothing. Must not know connections.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from edge.drivers.messages import Spoken
from edge.model.clocks import Clocks, ms_up
from edge.model.columns import Columns, missed
from edge.model.silence import Heed, Silence
from gateway.contract.reading import Reason

if TYPE_CHECKING:
    from edge.config import Source


class AbsenceSink(Protocol):
    """Where missed slots and absences go: the agent's intake."""

    def put(self, device: str, columns: Sequence[Columns], *, offset_ns: int) -> None:
        """Take readings."""

    def absent(
        self, device: str, names: Sequence[str], *, from_ms: int, reason: str, heard: bool = False
    ) -> None:
        """These points have no readings from now on."""

    def returned(self, device: str, names: Sequence[str], *, to_ms: int) -> None:
        """They have again, from `to_ms` on."""

    def was_absent(self, device: str, names: Sequence[str], *, from_ms: int, to_ms: int, reason: str) -> None:
        """An absence that is over already."""

    def presence(self, device: str, *, up: bool) -> None:
        """The device as a whole is gone, or back."""


class Silences:
    """All accounts of a source. `keys` are aliases by device and point name."""

    def __init__(
        self, *, source: Source, keys: Mapping[str, Mapping[str, int]], clocks: Clocks, sink: AbsenceSink
    ) -> None:
        self._keys = keys
        self._clocks = clocks
        self._sink = sink
        self._down: set[str] = set()
        self._looked = False
        now_ms, mono_ns = ms_up(clocks.wall_ns()), clocks.mono_ns()
        self._accounts: dict[str, dict[str, Silence]] = {}
        for device in source.devices:
            periods = {name: spec.period_ms for name, spec in device.points.items()}
            self._accounts[device.id] = {
                name: Silence.starting(period_ms=period_ms, now_ms=now_ms, mono_ns=mono_ns)
                for name, period_ms in periods.items()
                if period_ms is not None
            }

    @property
    def period_ms_min(self) -> int | None:
        """The shortest period, if any point has one."""
        return min((one.period_ms for some in self._accounts.values() for one in some.values()), default=None)

    def spoke(self, spoken: Iterable[Spoken], *, mono_ns: int, wall_ns: int) -> None:
        """Readings of one message came; call it before they are stored."""
        heeds: dict[str, dict[str, Heed]] = {}
        for one in spoken:
            of_device = heeds.setdefault(one.wanted.device, {})
            silence = self._accounts[one.wanted.device].get(one.wanted.name)
            if silence is not None:
                of_device[one.wanted.name] = silence.spoke(
                    time_ms=one.time_ms, mono_ns=mono_ns, received_ms=ms_up(wall_ns)
                )
        for device, by_name in heeds.items():
            self._carry_out(device, by_name, reason=Reason.SOURCE_STALE)
            if device in self._down:
                self._down.discard(device)
                self._sink.presence(device, up=True)

    def look(self, *, deaf: str = "") -> None:
        """Time went by. While we are `deaf`, which says why, what is said waits at the broker."""
        mono_ns, listening = self._clocks.mono_ns(), not deaf
        reason = deaf or Reason.SOURCE_STALE
        for device, accounts in self._accounts.items():
            heeds = {name: silence.passed(mono_ns, listening=listening) for name, silence in accounts.items()}
            self._carry_out(device, heeds, reason=reason)
            gone = bool(accounts) and all(one.from_ms is not None for one in accounts.values())
            news = not self._looked or any(heed.opened_ms is not None for heed in heeds.values())
            if gone and news and device not in self._down:
                self._down.add(device)
                self._sink.presence(device, up=False)
        self._looked = True

    def _carry_out(self, device: str, heeds: Mapping[str, Heed], *, reason: str) -> None:
        offset_ns = self._clocks.wall_ns() - self._clocks.mono_ns()
        together: dict[tuple[int | None, int | None], list[str]] = {}
        for name, heed in heeds.items():
            if heed.told:
                key = self._keys[device][name]
                gap = missed(key=key, times_ms=heed.told, reason=Reason.SOURCE_STALE)
                self._sink.put(device, [gap], offset_ns=offset_ns)
            together.setdefault((heed.opened_ms, heed.closed_ms), []).append(name)
        for ends, names in together.items():
            match ends:
                case (int(from_ms), int(to_ms)):
                    self._sink.was_absent(device, names, from_ms=from_ms, to_ms=to_ms, reason=reason)
                case (int(from_ms), None):
                    self._sink.absent(device, names, from_ms=from_ms, reason=reason, heard=True)
                case (None, int(to_ms)):
                    self._sink.returned(device, names, to_ms=to_ms)

    # -- across starts

    def absent(self) -> set[str]:
        """Points whose absence is open, as `device/name`."""
        return {
            f"{device}/{name}"
            for device, accounts in self._accounts.items()
            for name, silence in accounts.items()
            if silence.from_ms is not None
        }

    def kept(self) -> dict[str, list[int]]:
        """What the next start needs, by `device/name`."""
        return {
            f"{device}/{name}": silence.kept()
            for device, accounts in self._accounts.items()
            for name, silence in accounts.items()
        }

    def resume(self, kept: Mapping[str, Sequence[int]]) -> None:
        """Go on from what an earlier run kept."""
        now_ms, mono_ns = ms_up(self._clocks.wall_ns()), self._clocks.mono_ns()
        for device, accounts in self._accounts.items():
            for name, silence in accounts.items():
                if (before := kept.get(f"{device}/{name}")) is not None:
                    silence.resume(before, now_ms=now_ms, mono_ns=mono_ns)
