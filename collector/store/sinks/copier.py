"""One sink's copy of the readings, step by step behind the projection.

Owns the two cursors: `sent`, what the sink acknowledged, and the durable one in the sink's file, which
moves only when what was sent has been safe for the target's lag, in the same life of the server, and its
samples were found. After a doubt it begins again from the durable one. Owns also what is written anew when
links change. Must not know tasks or clocks: it is called, and blocks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

import numpy as np
from numpy.typing import NDArray

from collector.identity.facts import Facts
from collector.store.ledger.ledger import Ledger
from collector.store.projection import Projection
from collector.store.readings import NS_PER_MS, ReadingStore, value_of
from collector.store.rows import Resolver, Rows
from collector.store.sinks.again import stored_rows
from collector.store.sinks.file import Job, RefusedReadings, SinkFile
from collector.store.sinks.labels import LabelsOf, changes, labels_for, labels_of
from collector.store.sinks.model import Refused, Sample, SinkDownError, Target
from gateway.contract.reading import PointName

VERIFY_EVERY_S: Final = 10.0
"""How often a sample of what was sent is read back, where acknowledging is not keeping."""
SAMPLE_READINGS_MAX: Final = 1_000
MARKS_EVERY_S: Final = 0.5
"""Steps closer than this share a mark: a lag of an hour needs 7,200 of them."""
JOBS_A_STEP: Final = 16
"""Stretches written anew in one step, so that new readings do not wait long."""
READINGS_A_PART: Final = 1 << 19
"""A usual step is one part; what a birth brings late may be several, one of them in memory at a time."""
NOT_FOUND: Final = "acknowledged, but not there when read back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which readings a sink is given."""

    points: tuple[str, ...] = ("*",)
    from_ns: int | None = None

    def has(self, point: PointName) -> bool:
        """Whether a point is among them."""
        name = str(point)
        return any(fnmatchcase(name, glob) for glob in self.points)


@dataclass(slots=True, kw_only=True)
class _Mark:
    """Sent at `at_s`: everything up to `cursor`, and these jobs."""

    at_s: float
    first: int
    cursor: int
    jobs: list[int] = field(default_factory=list)
    sample: Sample | None = None


@dataclass(slots=True)
class _Kept:
    """Refused readings of one point and problem in this step."""

    sample: str
    seen: list[int] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Counts:
    """Of this process."""

    written: int = 0
    """Readings sent, those sent again included."""
    rewinds: int = 0
    """How often was begun again from the durable cursor."""
    rewritten: int = 0
    """Stretches written again because links changed."""
    stale: int = 0
    """Of these, those whose old series the sink cannot remove."""


class Copier:
    """Drives one target. Used by one thread at a time."""

    def __init__(
        self,
        target: Target,
        *,
        file: SinkFile,
        ledger: Ledger,
        projection: Projection,
        readings: ReadingStore,
        now_s: Callable[[], float],
        now_ns: Callable[[], int],
        choice: Choice | None = None,
        facts: Callable[[], Facts] | None = None,
    ) -> None:
        self._target = target
        self._file = file
        self._ledger = ledger
        self._projection = projection
        self._readings = readings
        self._resolver = Resolver(ledger=ledger, projection=projection)
        self._now_s, self._now_ns = now_s, now_ns
        self._choice = choice or Choice()
        self._facts = facts
        self._known: Facts | None = None
        self._labels: LabelsOf | None = file.labels() if facts else None
        self._wanted: dict[PointName, bool] = {}
        self._marks: deque[_Mark] = deque()
        self._sent = file.cursor
        self._life = ""
        self._is_open = False
        self._doubted = 0
        self._refused: dict[tuple[str, str], _Kept] = {}
        self._verified_s = -VERIFY_EVERY_S
        self.counts = Counts()

    @property
    def cursor(self) -> int:
        """The durable cursor."""
        return self._file.cursor

    @property
    def sent(self) -> int:
        """What the sink has acknowledged."""
        return self._sent

    def refusals(self, *, limit: int) -> list[RefusedReadings]:
        """What the sink would not take, the newest first."""
        return self._file.refusals(limit=limit)

    def step(self) -> bool:
        """One step; whether there is more to do at once. Raises SinkDownError: call again later."""
        try:
            if not self._is_open:
                self._open()
            self._settle()
            self._relabel()
            rewrote = self._rewrite()
            upto, more = self._next()
            if upto > self._sent:
                self._copy(upto)
            self._settle()
        except SinkDownError:
            self._is_open = False
            self._refused.clear()
            raise
        return more or rewrote

    def close(self) -> None:
        """Let go of the target and the file. What was sent and not yet safe is sent again later."""
        self._target.close()
        self._file.close()

    # --- forward ----------------------------------------------------------------------------------

    def _open(self) -> None:
        self._target.open(cursor=self._file.cursor)
        if self._target.lag_s:
            life = self._target.life()
            if self._life and life != self._life:
                self._rewind()
            self._life = life
        self._is_open = True

    def _next(self) -> tuple[int, bool]:
        """How far this step goes, and whether more waits behind it."""
        step = self._target.step
        limit = self._projection.cursor()
        upto = self._ledger.within(after=self._sent, limit=step.entries_max, bytes_max=step.bytes_max)
        if upto < limit:
            return upto, True
        if limit > self._sent and step.patience_s:
            known_ns = self._ledger.known_at(self._sent + 1) or 0
            if self._now_ns() - known_ns < step.patience_s * 1e9:
                return self._sent, False
        return max(limit, self._sent), False

    def _copy(self, upto: int) -> None:
        after = self._sent
        self._refused.clear()
        self._withdraw(after=after, upto=upto)
        sample: Sample | None = None
        parts = self._resolver.parts(after=after, upto=upto, readings_max=READINGS_A_PART)
        for part, rows in enumerate(parts):
            at = self._chosen(rows)
            if len(at):
                sample = self._write(rows, at, part=part) or sample
        self._keep_refusals()
        self._sent = upto
        self._mark(first=after + 1, sample=sample)

    def _chosen(self, rows: Rows) -> NDArray[np.int64]:
        keep = np.ones(len(rows), np.bool_)
        wanted = np.array([self._wants(one.point) for one in rows.points], np.bool_)
        if not wanted.all():
            keep &= wanted[rows.point]
        if self._choice.from_ns is not None:
            keep &= rows.time_ms * NS_PER_MS >= self._choice.from_ns
        rejected = self._projection.rejected(upto=self._projection.cursor())
        if rejected:
            keep &= ~np.isin(rows.entry, np.fromiter(rejected, np.int64, len(rejected)))
        return np.flatnonzero(keep)

    def _wants(self, point: PointName) -> bool:
        found = self._wanted.get(point)
        if found is None:
            found = self._wanted[point] = self._choice.has(point)
        return found

    def _write(self, rows: Rows, at: NDArray[np.int64], *, part: int) -> Sample | None:
        labels = None if self._labels is None else labels_for(rows, at, self._labels)
        refused = self._target.write(rows, at, part=part, labels=labels)
        for one in refused:
            self._refuse(rows, one)
        self.counts.written += len(at)
        if not self._target.lag_s or refused:
            return None
        point = int(rows.point[at[0]])
        of_point = rows.point[at] == point
        if labels is not None:
            of_point &= labels.of == labels.of[0]
        times = rows.time_ms[at[of_point][:SAMPLE_READINGS_MAX]]
        label = "" if labels is None else labels.texts[int(labels.of[0])]
        return Sample(point=rows.points[point].point, label=label, times_ms=tuple(times.tolist()))

    def _refuse(self, rows: Rows, refused: Refused) -> None:
        """Collect it: a step's refusals are kept together, so that none is counted twice after a restart."""
        if not len(refused.rows):
            self._file.refuse(point="*", problem=refused.problem, seen=(), n=refused.n, sample="")
        for point in np.unique(rows.point[refused.rows]).tolist():
            these = refused.rows[rows.point[refused.rows] == point]
            first = int(these[0])
            value = value_of(int(rows.form[first]), int(rows.bits[first]), rows.strings)
            key = (str(rows.points[point].point), refused.problem)
            kept = self._refused.setdefault(key, _Kept(f"{int(rows.time_ms[first])} ms: {value!r}"))
            kept.seen += rows.seen[these].tolist()

    def _keep_refusals(self) -> None:
        refused, self._refused = self._refused, {}
        for (point, problem), kept in refused.items():
            seen = sorted(kept.seen)
            self._file.refuse(point=point, problem=problem, seen=seen, n=len(seen), sample=kept.sample)

    # --- what is safe -----------------------------------------------------------------------------

    def _mark(self, *, first: int, sample: Sample | None = None, job: int | None = None) -> None:
        """Remember when what was sent."""
        now_s = self._now_s()
        last = self._marks[-1] if self._marks else None
        # The mark's time is that of its first step: so no later step may join it once it is old.
        if last is None or now_s - last.at_s > MARKS_EVERY_S or not self._target.lag_s:
            last = _Mark(at_s=now_s, first=first, cursor=self._sent)
            self._marks.append(last)
        last.cursor = self._sent
        last.sample = sample or last.sample
        if job is not None:
            last.jobs.append(job)

    def _settle(self) -> None:
        """Move the durable cursor over what has been safe long enough; or begin again from it."""
        lag_s = self._target.lag_s
        due = []
        while self._marks and self._marks[0].at_s + (lag_s + MARKS_EVERY_S if lag_s else 0) <= self._now_s():
            due.append(self._marks.popleft())
        if not due:
            return
        if lag_s and not self._is_safe(due):
            self._rewind()
            return
        self._file.move(due[-1].cursor, done=[job for mark in due for job in mark.jobs])

    def _is_safe(self, due: list[_Mark]) -> bool:
        try:
            life = self._target.life()
            if life != self._life:
                self._life = life
                return False
            if self._now_s() - self._verified_s < VERIFY_EVERY_S:
                return True
            self._verified_s = self._now_s()
            return all([self._is_found(mark) for mark in due if mark.sample is not None][-1:])
        except SinkDownError:
            self._marks.extendleft(reversed(due))  # not answered: they stay in doubt
            raise

    def _is_found(self, mark: _Mark) -> bool:
        """Whether a sample is there. What is missing a second time, or is said to be ignored, is told."""
        assert mark.sample is not None, "chosen by that"
        missing = self._target.missing(mark.sample)
        if not missing:
            return True
        why = self._target.why_missing()
        if not why and mark.first > self._doubted:
            self._doubted = mark.cursor
            return False
        problem = f"{NOT_FOUND}: {why}" if why else NOT_FOUND
        point = str(mark.sample.point)
        sample = f"{mark.sample.times_ms[0]} ms and later"
        self._file.refuse(
            point=point, problem=problem, seen=[mark.cursor] * missing, n=missing, sample=sample
        )
        return True

    def _rewind(self) -> None:
        self._marks.clear()
        self._sent = self._file.cursor
        self.counts.rewinds += 1

    # --- batches ----------------------------------------------------------------------------------

    def _relabel(self) -> None:
        """Take up links that changed: what was written under other labels is to be written again."""
        if self._facts is None or self._labels is None:
            return
        facts = self._facts()
        if self._known is not None and facts.links is self._known.links:
            return
        labels = labels_of(facts)
        changed = [
            (point, low, high)
            for point, low, high in changes(self._labels, labels)
            if self._sent and self._wants(PointName.parse(point))
        ]
        self._file.relabel(labels, changed)
        self._labels, self._known = labels, facts

    def _withdraw(self, *, after: int, upto: int) -> None:
        """Entries that were sent and are known since to be wrong: their time is written again."""
        if not self._target.rewrites:
            return
        known = self._projection.rejected(upto=after)
        for entry_id in sorted(self._projection.rejected(upto=upto) - known):
            if entry_id > after:
                continue
            (entry,) = self._ledger.entries(after=entry_id - 1, limit=1, payload=False)
            if entry.t_min_ms is None or entry.t_max_ms is None:
                continue
            span = (entry.t_min_ms * NS_PER_MS, (entry.t_max_ms + 1) * NS_PER_MS)
            device = (entry.group, entry.node, entry.device)
            points = [PointName(*row[:4]) for row in self._projection.points() if row[:3] == device]
            self._file.add_jobs([(str(point), *span) for point in points if self._wants(point)])

    def _rewrite(self) -> bool:
        """Some of the stretches whose batch changed; whether more wait."""
        if not self._target.rewrites:
            return False
        beside = [job for mark in self._marks for job in mark.jobs]
        jobs = self._file.jobs(beside=beside, limit=JOBS_A_STEP)
        for job in jobs:
            self._rewrite_one(job)
            self._keep_refusals()
            self._mark(first=self._sent + 1, job=job.id)
        return len(jobs) == JOBS_A_STEP

    def _rewrite_one(self, job: Job) -> None:
        point = PointName.parse(job.point)
        self.counts.rewritten += 1
        parts = self._kept_parts(point, job)
        if parts != [(job.from_ns, job.to_ns)]:
            self.counts.stale += 1  # what is not kept here stays there as it was written
        for from_ns, to_ns in parts:
            self._rewrite_part(point, from_ns, to_ns)

    def _kept_parts(self, point: PointName, job: Job) -> list[tuple[int, int]]:
        """The stretch without the times whose readings are not kept here any more."""
        low_ms, high_ms = job.from_ns // NS_PER_MS, -(-job.to_ns // NS_PER_MS)
        out, at = [], job.from_ns
        for start, end in self._ledger.unkept(point, low_ms=low_ms, high_ms=high_ms, upto=self._sent):
            out.append((at, start * NS_PER_MS))
            at = max(at, end * NS_PER_MS)
        return [(low, high) for low, high in [*out, (at, job.to_ns)] if low < high]

    def _rewrite_part(self, point: PointName, low_ns: int, high_ns: int) -> None:
        if not self._target.delete(point, from_ns=low_ns, to_ns=high_ns):
            self.counts.stale += 1
        windows = self._readings.windows(point, from_ns=low_ns, to_ns=high_ns, upto=self._sent)
        for from_ns, to_ns in windows:
            rows = stored_rows(self._readings, point, from_ns=from_ns, to_ns=to_ns, upto=self._sent)
            at = self._chosen(rows)
            if len(at):
                self._write(rows, at, part=0)
