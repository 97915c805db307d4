"""A detector of the port, attached to its points: readings in, rows for it out, findings back.

Owns the alignment of several points (a row whenever the first one speaks, the others with their last
value while it is fresh), times that ascend though a clock was set back, and one finding a run of `active`.
Must not know what the detector does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.detect import kernel
from edge.detect.finding import Episodes, Finding
from edge.detect.hot import parameter_hash
from edge.detect.port import Channel, Detector, Flags, Floats, Moment, Verdicts

if TYPE_CHECKING:
    from edge.detect.bank import Batch

FRESH_MS: Final = 60_000
"""A value of another point counts for three of its periods, at least for a minute."""


class Attached:
    """One detector and its channels."""

    def __init__(self, detector: Detector, channels: Sequence[Channel], at: tuple[int, ...]) -> None:
        self.detector = detector
        self.channels = tuple(channels)
        self.at = at
        self.parameters = parameter_hash({"version": detector.version, **detector.settings})
        self.key = f"{detector.name}@{detector.version} {self.parameters} {' '.join(self.points)}"
        self._fresh_ms = [max(FRESH_MS, 3 * one.period_ms) for one in channels]
        self._last_value = np.full(len(at), np.nan)
        self._last_ms = np.full(len(at), -(1 << 60), np.int64)
        self._given_ms = -(1 << 60)
        self._shift_ms = 0
        self._active = False

    @property
    def points(self) -> list[str]:
        """Names of the points."""
        return [one.point for one in self.channels]

    def feed(
        self, batch: Batch, taught: Flags, flags: NDArray[np.int32], score: Floats, episodes: Episodes
    ) -> list[tuple[int, Finding]]:
        """Answer the readings of my points; raises the score of those where it is higher."""
        index = self._mine(batch, flags)
        if not len(index):
            return []
        rows = self._rows(batch, index, taught)
        if not len(rows[0]):
            return []
        at, time_ms, shift_ms, values, usable = rows
        said = self.detector.step(time_ms + shift_ms, values, usable)
        score[at] = np.maximum(score[at], said.score)
        return self._findings((at, time_ms, shift_ms), values, said, episodes)

    def _mine(self, batch: Batch, flags: NDArray[np.int32]) -> NDArray[np.int64]:
        """Readings of my points that are in time order."""
        wrong = kernel.LATE | kernel.DOUBLE
        mine = np.isin(batch.channel, np.array(self.at))
        return np.flatnonzero(mine & ((flags & wrong) == 0))

    def _rows(
        self, batch: Batch, index: NDArray[np.int64], taught: Flags
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], Floats, Flags]:
        """(reading, time, shift, values, usable) of each row that the detector is given."""
        if len(self.at) == 1:
            alone = self._alone(batch, index, taught)
            if alone is not None:
                return alone
        columns = {channel: column for column, channel in enumerate(self.at)}
        reading: list[int] = []
        times: list[int] = []
        shifts: list[int] = []
        values: list[Floats] = []
        fresh: list[Flags] = []
        for i in index.tolist():
            column, time_ms = columns[int(batch.channel[i])], int(batch.time_ms[i])
            self._last_value[column] = batch.value[i] if taught[i] else np.nan
            self._last_ms[column] = time_ms
            if column:
                continue
            if time_ms + self._shift_ms <= self._given_ms:
                self._shift_ms = self._given_ms + max(1, self.channels[0].period_ms) - time_ms
            self._given_ms = time_ms + self._shift_ms
            ages = time_ms - self._last_ms
            there = np.isfinite(self._last_value) & (ages <= self._fresh_ms) & (ages >= -FRESH_MS)
            reading.append(i)
            times.append(time_ms)
            shifts.append(self._shift_ms)
            values.append(np.where(there, self._last_value, np.nan))
            fresh.append(there)
        width = len(self.at)
        return (
            np.array(reading, np.int64),
            np.array(times, np.int64),
            np.array(shifts, np.int64),
            np.array(values).reshape(-1, width),
            np.array(fresh, np.bool_).reshape(-1, width),
        )

    def _alone(
        self, batch: Batch, index: NDArray[np.int64], taught: Flags
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], Floats, Flags] | None:
        """The same for one point whose times simply ascend; None when they do not."""
        times = batch.time_ms[index]
        shifted = times + self._shift_ms
        if shifted[0] <= self._given_ms or (np.diff(shifted) <= 0).any():
            return None
        fresh = taught[index] & np.isfinite(batch.value[index])
        values = np.where(fresh, batch.value[index], np.nan)
        self._given_ms = int(shifted[-1])
        self._last_ms[0], self._last_value[0] = times[-1], values[-1]
        return index, times, np.full(len(index), self._shift_ms), values[:, None], fresh[:, None]

    def _findings(
        self,
        rows: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
        values: Floats,
        said: Verdicts,
        episodes: Episodes,
    ) -> list[tuple[int, Finding]]:
        at, time_ms, shift_ms = rows
        found: list[tuple[int, Finding]] = []
        edges = np.flatnonzero(said.active != np.r_[self._active, said.active[:-1]])
        self._active = bool(said.active[-1])
        name = self.detector.name
        for row in edges.tolist():
            column = int(said.culprit[row])
            channel = self.channels[column]
            subject = self.channels[0].point
            now = int(time_ms[row])
            if not said.active[row]:
                if episodes.is_open(subject, name):
                    found.append((int(at[row]), episodes.end(subject, name, now)))
                continue
            if not episodes.may_speak(subject, name, now):
                continue
            moment = Moment(
                channel=channel,
                time_ms=now,
                since_ms=int(said.since_ms[row] - shift_ms[row]),
                value=float(values[row, column]),
                raw=float(said.raw[row]),
                threshold=float(said.threshold[row]),
                more={
                    key: float(array[row]) - (shift_ms[row] if key.endswith("_ms") else 0)
                    for key, array in said.more.items()
                },
            )
            found.append((int(at[row]), episodes.begin(self._finding(moment, subject), lasting=True)))
        return found

    def _finding(self, moment: Moment, subject: str) -> Finding:
        both = moment.raw + moment.threshold
        expected = [moment.more.get(key, np.nan) for key in ("earliest_ms", "likely_ms", "latest_ms")]
        told = all(np.isfinite(expected))
        return Finding(
            id="",
            point=subject,
            detector=self.detector.name,
            version=self.detector.version,
            parameters=self.parameters,
            state="open",
            time_ms=moment.time_ms,
            from_ms=min(moment.since_ms, moment.time_ms),
            to_ms=None,
            score=moment.raw / both if both > 0 else 0.5,
            raw=moment.raw,
            threshold=moment.threshold,
            value=moment.value if np.isfinite(moment.value) else None,
            unit=moment.channel.unit,
            sentence=self.detector.sentence(moment),
            expected_ms=(int(expected[0]), int(expected[1]), int(expected[2])) if told else None,
        )

    # -- what is remembered

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """A document and arrays by name."""
        document = {
            "key": self.key,
            "detector": self.detector.name,
            "points": self.points,
            "given_ms": self._given_ms,
            "shift_ms": self._shift_ms,
            "active": self._active,
        }
        own = {f"own/{name}": np.asarray(array) for name, array in self.detector.state().items()}
        return document, {"last_value": self._last_value, "last_ms": self._last_ms, **own}

    def resume(self, document: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from `state()`. Raises ValueError."""
        self._given_ms, self._shift_ms = document["given_ms"], document["shift_ms"]
        self._active = document["active"]
        self._last_value[:], self._last_ms[:] = arrays["last_value"], arrays["last_ms"]
        own = {name.removeprefix("own/"): a for name, a in arrays.items() if name.startswith("own/")}
        self.detector.resume(own)
