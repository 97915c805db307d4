"""The store against a list, with a crash at any write, new epochs, limits and care: what is said is so.

A crash is a commit that fails: the transaction is rolled back as the file's next opening would do it,
and the store is opened anew. Nothing that was reported done may be missing, nothing may be half done,
and every number of every epoch is at any moment waiting, receipted, moved or declared lost.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import apsw
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.contract.decode import check_digest, decode_data
from gateway.contract.events import EVENT_METRIC, Loss, RolledBack, parse_event
from gateway.contract.receipts import Receipt
from gateway.contract.segment import NO_PREVIOUS, SegmentId
from gateway.outbox.config import OutboxConfig
from gateway.outbox.model import Draft, OutboxError, Stored
from gateway.outbox.store import Outbox
from tests.outboxes import CLOCK, DAY_NS, T0_MS, Wall, a_block, everything

LEDGER = "1" * 16
BYTES_MAX = 30_000
AGE_DAYS = 20

Key = tuple[str, int]
"""Epoch and number."""


class Fates:
    """What became of every number that was ever given, as the store's own statements and answers say."""

    def __init__(self) -> None:
        self.given: dict[Key, str] = {}
        self.receipted: set[Key] = set()
        self.lost: set[Key] = set()
        self.moved: dict[Key, Key] = {}
        self.readings_appended = 0

    def told(self, rows: list[Stored]) -> None:
        """Take in the statements among these."""
        for row in rows:
            for _, _, text in decode_data(row.body).block.named_values(EVENT_METRIC):
                match parse_event(text):
                    case Loss() as loss:
                        for first, last in loss.ranges:
                            self.lost.update((loss.epoch, n) for n in range(first, last + 1))
                    case RolledBack() as rolled:
                        to = rolled.moved_to
                        for first, last in rolled.moved:
                            for n in range(first, last + 1):
                                self.moved[rolled.old_epoch, n] = (rolled.new_epoch, to)
                                to += 1
                    case _:
                        pass


class OutboxUnderCrashes(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.wall = Wall()
        self.fates = Fates()
        self.time_ms = T0_MS
        self.open()

    def open(self) -> None:
        config = OutboxConfig.model_validate({"bytes_max": BYTES_MAX, "age_days_max": AGE_DAYS})
        self.outbox = Outbox.open(Path(self.folder.name) / "outbox.db", now_ns=self.wall, config=config)
        assert self.outbox.recovery is None

    def crash(self, after: int = 0) -> None:
        """A commit, the next or a later one, does not happen; what was going on is gone with the process."""
        left = after

        def refuse() -> bool:
            nonlocal left
            left -= 1
            return left < 0

        self.outbox._db.set_commit_hook(refuse)

    def reopen(self) -> None:
        self.outbox._db.set_commit_hook(None)
        self.outbox.close()
        self.open()

    def drafts(self, sizes: list[int], priority: int) -> list[Draft]:
        out = []
        for size in sizes:
            out.append(Draft("BR-01", a_block(size, start_ms=self.time_ms), CLOCK, priority=priority))
            self.time_ms += 100 * size
        return out

    @rule(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=6), priority=st.integers(1, 3))
    def append(self, sizes: list[int], priority: int) -> None:
        ids = self.outbox.append(self.drafts(sizes, priority))
        self.note(ids, sizes)

    def note(self, ids: list[SegmentId], sizes: list[int]) -> None:
        for one in ids:
            assert (one.epoch, one.number) not in self.fates.given, "a number was given twice"
            self.fates.given[one.epoch, one.number] = one.digest
        self.fates.readings_appended += sum(sizes)

    @rule(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=6))
    def crash_in_an_append(self, sizes: list[int]) -> None:
        before = self.outbox.last_place()
        self.crash()
        with pytest.raises((OutboxError, apsw.Error)):
            self.outbox.append(self.drafts(sizes, 1))
        self.reopen()
        assert self.outbox.last_place() == before

    @rule(back=st.integers(0, 12), crash=st.booleans())
    def receipt(self, back: int, crash: bool) -> None:
        """Cumulative, honest: up to some number of the current epoch."""
        upto = max(self.outbox.status().upto, self.outbox.last_number() - back)
        said = Receipt("telomere", LEDGER, self.outbox.epoch, upto)
        if crash:
            self.crash()
            with pytest.raises((OutboxError, apsw.Error)):
                self.outbox.settle(said)
            self.reopen()
        else:
            waiting = {(row.epoch, row.number) for row in everything(self.outbox)}
            self.outbox.settle(said)
            self.fates.receipted.update((e, n) for e, n in waiting if e == said.epoch and n <= upto)

    @rule(crash=st.booleans())
    def the_store_was_rolled_back(self, crash: bool) -> None:
        ended = self.outbox.epoch
        self.outbox.settle(Receipt("telomere", LEDGER, ended, self.outbox.last_number() + 7))
        if crash:
            before = everything(self.outbox)
            self.crash()
            with pytest.raises((OutboxError, apsw.Error)):
                self.outbox.begin_epoch(cause="test", ended=ended)
            self.reopen()
            assert everything(self.outbox) == before
        renewal = self.outbox.begin_epoch(cause="test", ended=ended)
        assert self.outbox.epoch == renewal.epoch != ended

    @rule(days=st.integers(0, 12), crash=st.sampled_from([None, 0, 1, 2, 3]))
    def days_pass(self, days: int, crash: int | None) -> None:
        self.wall.ns += days * DAY_NS
        if crash is not None:
            self.crash(crash)
            with contextlib.suppress(OutboxError, apsw.Error):
                self.outbox.tend()
            self.reopen()
            self.every_number_has_exactly_one_fate()
        self.outbox.tend()

    @invariant()
    def every_number_has_exactly_one_fate(self) -> None:
        if not hasattr(self, "outbox"):
            return
        waiting = everything(self.outbox)
        fates = self.fates
        for row in waiting:
            fates.given.setdefault((row.epoch, row.number), row.digest)
        fates.told(waiting)
        here = {(row.epoch, row.number) for row in waiting}
        gone = fates.lost | fates.moved.keys() | fates.receipted
        assert here | gone >= fates.given.keys(), sorted(fates.given.keys() - here - gone)
        assert not here & (fates.lost | fates.moved.keys() | fates.receipted)
        assert not fates.lost & fates.moved.keys()
        assert not fates.lost & fates.receipted

    @invariant()
    def the_chain_holds_wherever_two_neighbours_are_kept(self) -> None:
        if not hasattr(self, "outbox"):
            return
        rows = everything(self.outbox)
        by_key = {(row.epoch, row.number): row for row in rows}
        for row in rows:
            assert self.fates.given[row.epoch, row.number] == row.digest
            before = by_key.get((row.epoch, row.number - 1))
            previous = NO_PREVIOUS if row.number == 1 else None if before is None else before.digest
            data = decode_data(row.body)
            assert str(data.segment) == f"{row.epoch}/{row.number}/{row.digest}"
            assert previous is None or check_digest(data, previous=previous, device=row.device)

    @invariant()
    def the_counters_are_the_rows(self) -> None:
        if not hasattr(self, "outbox"):
            return
        status = self.outbox.status()
        rows = everything(self.outbox)
        kept = self.outbox.fetch(range(1, self.outbox.last_place() + 1))
        assert status.depth_segments == len(rows)
        assert status.depth_readings == sum(row.readings for row in rows)
        assert status.bytes == sum(row.size for row in rows)
        assert status.bytes_kept == sum(row.size for row in kept)
        assert status.segments_lost == len(self.fates.lost)
        assert status.readings_sampled == self.fates.readings_appended
        assert [row.place for row in rows] == sorted({row.place for row in rows})

    def teardown(self) -> None:
        if hasattr(self, "outbox"):
            self.outbox.close()
            self.folder.cleanup()


OutboxUnderCrashes.TestCase.settings = settings(
    max_examples=50, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestOutboxUnderCrashes = OutboxUnderCrashes.TestCase
