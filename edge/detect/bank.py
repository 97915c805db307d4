"""The bank: readings of any points in any blocks go in, scores and findings come out.

Owns the way of a batch: rows for the tests that run on every point, then the attached detectors, which see
good readings in ascending time only; and what all of them remember, by point. The same readings in the
same order give the same answers, however they are cut. Must not know files, clocks or where findings go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.detect import kernel
from edge.detect.attached import Attached
from edge.detect.finding import Episodes, Finding
from edge.detect.hot import VERSION, Checks, Engine, HotSet, usable
from edge.detect.port import Channel, Detector, Floats, Times
from edge.detect.words import CHECKS, Check, Seen

ROWS_AT_ONCE: Final = 512
"""Rows of the dense block: 200 points are 3 MB."""
ROWS_AFTER_NEWS: Final = 16
"""A finding is seldom alone; shorter blocks have less to do again."""
FORMAT: Final = 1
"""Of `state()`."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Batch:
    """m readings in the order in which they became known; those of one point need not be in time order.

    channel i64[m] into the bank's channels, time_ms i64[m], value f64[m], kind u8[m] (kernel.GOOD, BAD).
    """

    channel: NDArray[np.int64]
    time_ms: Times
    value: Floats
    kind: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.channel)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Answer:
    """score f64[m], flags i32[m] of the tests on every point, findings with the reading that made them."""

    score: Floats
    flags: NDArray[np.int32]
    findings: Sequence[tuple[int, Finding]]


@dataclass(frozen=True, slots=True)
class Dropped:
    """Something remembered that could not be gone on with, and why."""

    point: str
    detector: str
    reason: str


class Bank:
    """All detectors of a gateway."""

    def __init__(
        self,
        *,
        node: str,
        channels: Sequence[Channel],
        checks: Sequence[Checks],
        off: Sequence[frozenset[str]] | None = None,
        attached: Sequence[tuple[Detector, Sequence[int]]] = (),
        engine: Engine = Engine.AUTO,
    ) -> None:
        """`off`: names of tests that a channel is spared. `attached`: a detector and its channels."""
        self.channels = tuple(channels)
        self.hot = HotSet(channels, checks, engine=engine)
        self.episodes = Episodes(node)
        self.attached = [Attached(one, [self.channels[i] for i in at], tuple(at)) for one, at in attached]
        spared = [frozenset()] * len(channels) if off is None else off
        self._mask = np.array(
            [sum(check.bit for check in CHECKS if check.name not in names) for names in spared], np.int32
        )

    def feed(self, batch: Batch, *, ahead: int = 0) -> Answer:
        """Answer a batch; `ahead` is how many readings a point the whole run will bring."""
        m = len(batch)
        score, flags = np.zeros(m), np.zeros(m, np.int32)
        found: list[tuple[int, Finding]] = []
        if not m:
            return Answer(score=score, flags=flags, findings=found)
        rank = _ranks(batch.channel)
        rows = int(rank.max()) + 1
        for first in range(0, rows, ROWS_AT_ONCE):
            index = np.full((min(ROWS_AT_ONCE, rows - first), len(self.channels)), -1, np.int64)
            inside = np.flatnonzero((rank >= first) & (rank < first + ROWS_AT_ONCE))
            index[rank[inside] - first, batch.channel[inside]] = inside
            self._window(batch, index, score, flags, found, ahead=max(rows, ahead))
        taught = usable(flags, batch.kind)
        for one in self.attached:
            found += one.feed(batch, taught, flags, score, self.episodes)
        found.sort(key=lambda item: item[0])
        return Answer(score=score, flags=flags & self._mask[batch.channel], findings=found)

    # -- the tests on every point

    def _window(
        self,
        batch: Batch,
        index: NDArray[np.int64],
        score: Floats,
        flags: NDArray[np.int32],
        found: list[tuple[int, Finding]],
        *,
        ahead: int,
    ) -> None:
        """Step through dense rows, stopping at each one that makes news: its state is the evidence."""
        there = index >= 0
        time_ms = np.where(there, batch.time_ms[index], 0).astype(np.float64)
        kind = np.where(there, batch.kind[index], np.uint8(kernel.ABSENT)).astype(np.uint8)
        value = np.where(there, batch.value[index], 0.0)
        begin, size = 0, len(index)
        while begin < len(index):
            end = min(len(index), begin + size)
            kept, before = self.hot.lanes.copy(), self._said()
            part = slice(begin, end)
            said, worst = self.hot.step(time_ms[part], kind[part], value[part], ahead=ahead)
            news = self._news(before, said, time_ms[part])
            size = min(ROWS_AT_ONCE, 2 * size)
            if news is not None:
                size = ROWS_AFTER_NEWS
                if begin + news + 1 < end:
                    end = begin + news + 1
                    part = slice(begin, end)
                    self.hot.lanes[:] = kept
                    said, worst = self.hot.step(time_ms[part], kind[part], value[part], ahead=ahead)
                previous = said[news - 1] if news else before
                found += self._tell(batch, index[end - 1], previous, said[news])
            here = there[part]
            score[index[part][here]], flags[index[part][here]] = worst[here], said[here]
            begin = end

    def _said(self) -> NDArray[np.int32]:
        return np.array([self.hot.field("said", at) for at in range(len(self.channels))], np.int32)

    def _news(self, before: NDArray[np.int32], said: NDArray[np.int32], time_ms: Floats) -> int | None:
        """The first row that opens or ends a finding."""
        changes = (said ^ np.vstack([before, said[:-1]])) & self._mask
        rows, columns = np.nonzero(changes)
        for row, at in zip(rows.tolist(), columns.tolist(), strict=True):
            change, now, point = int(changes[row, at]), int(said[row, at]), self.channels[at].point
            for check in CHECKS:
                if not change & check.bit:
                    continue
                if now & check.bit:
                    if self.episodes.may_speak(point, check.name, time_ms[row, at]):
                        return row
                elif self.episodes.is_open(point, check.name):
                    return row
        return None

    def _tell(
        self, batch: Batch, index: NDArray[np.int64], before: NDArray[np.int32], said: NDArray[np.int32]
    ) -> list[tuple[int, Finding]]:
        """Findings of one row, the state standing right after it."""
        found: list[tuple[int, Finding]] = []
        changes = (before ^ said) & self._mask
        for at in np.flatnonzero(changes).tolist():
            point, reading = self.channels[at].point, int(index[at])
            time_ms = int(batch.time_ms[reading])
            for check in CHECKS:
                if not changes[at] & check.bit:
                    continue
                if said[at] & check.bit:
                    if self.episodes.may_speak(point, check.name, time_ms):
                        finding = self._finding(check, at, time_ms, float(batch.value[reading]))
                        found.append((reading, self.episodes.begin(finding, lasting=check.lasting)))
                elif self.episodes.is_open(point, check.name):
                    found.append((reading, self.episodes.end(point, check.name, time_ms)))
        return found

    def _finding(self, check: Check, at: int, time_ms: int, value: float) -> Finding:
        channel = self.channels[at]
        seen = Seen(self.hot, at, channel, float(time_ms), value)
        said = check.say(seen)
        hard = check.bit & (kernel.RANGE | kernel.FAULT | kernel.MISSING | kernel.FLAT)
        beyond = abs(said.raw) + abs(said.threshold)
        return Finding(
            id="",
            point=channel.point,
            detector=check.name,
            version=VERSION,
            parameters=self.hot.hash_of(at),
            state="open",
            time_ms=time_ms,
            from_ms=int(min(said.from_ms, time_ms)),
            to_ms=None,
            score=1.0 if hard else abs(said.raw) / beyond if beyond > 0 else 0.5,
            raw=said.raw,
            threshold=said.threshold,
            value=value if np.isfinite(value) else None,
            unit=channel.unit,
            sentence=said.sentence,
        )

    # -- what is remembered

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """A document (JSON) and arrays by name."""
        arrays: dict[str, NDArray[Any]] = {"hot": self.hot.state()["hot"]}
        kept = []
        for number, one in enumerate(self.attached):
            document, more = one.state()
            kept.append(document)
            arrays |= {f"{number}/{name}": array for name, array in more.items()}
        document = {
            "format": FORMAT,
            "fields": list(kernel.FIELDS),
            "points": [[one.point, self.hot.hash_of(at)] for at, one in enumerate(self.channels)],
            "attached": kept,
            "episodes": self.episodes.document(),
        }
        return document, arrays

    def resume(self, document: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> list[Dropped]:
        """Go on from `state()`; what belongs to other parameters starts cold, and is told."""
        if document.get("format") != FORMAT or document.get("fields") != list(kernel.FIELDS):
            return [Dropped("", "", f"the state is of format {document.get('format')}, not {FORMAT}")]
        dropped: list[Dropped] = []
        kept = {point: (at, name) for at, (point, name) in enumerate(document["points"])}
        for at, channel in enumerate(self.channels):
            row, name = kept.get(channel.point, (0, None))
            if name == self.hot.hash_of(at):
                self.hot.resume(at, arrays["hot"][row])
            elif name is not None:
                dropped.append(Dropped(channel.point, "", "its parameters were changed"))
        self.episodes.resume(document["episodes"])
        for number, one in enumerate(document["attached"]):
            mine = next((own for own in self.attached if own.key == one["key"]), None)
            if mine is None:
                dropped.append(Dropped(one["points"][0], one["detector"], "it is no longer asked for"))
                continue
            mark = f"{number}/"
            own = {name.removeprefix(mark): a for name, a in arrays.items() if name.startswith(mark)}
            try:
                mine.resume(one, own)
            except ValueError as error:
                dropped.append(Dropped(one["points"][0], one["detector"], str(error)))
        return dropped


def _ranks(channel: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many readings of the same channel came before each."""
    order = np.argsort(channel, kind="stable")
    ordered = channel[order]
    first = np.r_[0, np.flatnonzero(np.diff(ordered)) + 1]
    lengths = np.diff(np.r_[first, len(channel)])
    rank = np.empty(len(channel), np.int64)
    rank[order] = np.arange(len(channel)) - np.repeat(first, lengths)
    return rank
