"""The store against a list: any order of appends, receipts, attempts, prunings and reopenings."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.contract.receipts import Receipt
from gateway.outbox.config import OutboxConfig
from gateway.outbox.model import Settlement
from gateway.outbox.store import Outbox
from tests.outboxes import DAY_NS, Wall, a_draft, chain_faults, everything

KEEP_DAYS = 2
LEDGERS = ["1" * 16, "2" * 16]


@dataclass
class Row:
    readings: int
    settled_ns: int | None = None
    attempts: int = 0
    refused_at: int | None = None
    parked: bool = False


class Twin:
    """What the outbox should hold, said as plainly as possible."""

    def __init__(self) -> None:
        self.rows: dict[int, Row] = {}
        self.last = self.upto = self.beyond = self.sampled = 0
        self.ledger: str | None = None
        self.beyond_upto: set[int] = set()
        """Numbers in the ranges of this ledger's last receipt."""
        self.told: set[str] = set()
        """Ledgers that were told what they lack and is no longer kept."""

    def append(self, readings: int) -> None:
        self.last += 1
        self.sampled += readings
        self.rows[self.last] = Row(readings)

    def settle(self, receipt: Receipt, *, ours: bool, now_ns: int) -> set[int]:
        """The numbers newly settled."""
        if not ours:
            return set()
        highest = max([receipt.upto, *(b for _, b in receipt.ranges), *receipt.refused])
        if highest > self.last:
            self.beyond = max(self.beyond, highest)
            return set()
        said = {n for n in range(1, self.last + 1) if self._says(receipt, n)}
        lost = self.beyond_upto - said - set(receipt.refused) if receipt.ledger == self.ledger else set()
        every = set(range(1, self.last + 1))
        if self.ledger not in {None, receipt.ledger} or receipt.upto < self.upto:
            lost = every - said
        gone = lost - self.rows.keys()
        if lost or receipt.upto < self.upto or self.ledger not in {None, receipt.ledger}:
            self._reopen(every - lost)
        self.beyond_upto = {n for a, b in receipt.ranges for n in range(a, b + 1)}
        newly = set()
        for number in sorted(said - set(receipt.refused)):
            row = self.rows.get(number)
            if row is None or row.settled_ns is not None or number <= self.beyond:
                continue
            if row.refused_at is None or row.attempts > row.refused_at:
                row.settled_ns, row.parked = now_ns, False
                newly.add(number)
        for number in receipt.refused:
            self._refuse(number)
        self.ledger, self.upto = receipt.ledger, receipt.upto
        if gone and receipt.ledger not in self.told:
            self.told.add(receipt.ledger)
            self.append(readings=0)
        return newly

    @staticmethod
    def _says(receipt: Receipt, number: int) -> bool:
        return number <= receipt.upto or any(a <= number <= b for a, b in receipt.ranges)

    def _reopen(self, said: set[int]) -> None:
        for number, row in self.rows.items():
            if row.parked or (row.settled_ns is not None and number not in said):
                self.rows[number] = Row(row.readings)

    def _refuse(self, number: int) -> None:
        row = self.rows.get(number)
        if row is None:
            return
        row.settled_ns = None
        if row.refused_at is None:
            row.refused_at = row.attempts
        elif row.attempts > row.refused_at:
            row.parked = True

    def prune(self, until_ns: int) -> None:
        self.rows = {n: r for n, r in self.rows.items() if r.settled_ns is None or r.settled_ns > until_ns}

    @property
    def unsettled(self) -> dict[int, Row]:
        return {n: row for n, row in self.rows.items() if row.settled_ns is None}


spans = st.tuples(st.integers(1, 30), st.integers(0, 8)).map(lambda at: (at[0], at[0] + at[1]))


class OutboxAgainstList(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.wall = Wall()
        self.twin = Twin()
        self.open()
        self.epoch = self.outbox.epoch

    def open(self) -> None:
        path = Path(self.folder.name) / "outbox.db"
        config = OutboxConfig(keep_receipted_days=KEEP_DAYS)
        self.outbox = Outbox.open(path, now_ns=self.wall, config=config)

    @rule(sizes=st.lists(st.integers(1, 4), max_size=5))
    def append(self, sizes: list[int]) -> None:
        ids = self.outbox.append([a_draft(size) for size in sizes])
        assert [i.number for i in ids] == list(range(self.twin.last + 1, self.twin.last + len(sizes) + 1))
        for size in sizes:
            self.twin.append(size)

    @rule(
        back=st.integers(-2, 6),
        ranges=st.lists(spans, max_size=3),
        refused=st.lists(st.integers(1, 30), max_size=3, unique=True),
        ledger=st.sampled_from([*[LEDGERS[0]] * 5, LEDGERS[1]]),
        ours=st.sampled_from([True] * 6 + [False]),
        clip=st.sampled_from([True] * 6 + [False]),
    )
    def settle(
        self,
        *,
        back: int,
        ranges: list[tuple[int, int]],
        refused: list[int],
        ledger: str,
        ours: bool,
        clip: bool,
    ) -> None:
        last = self.twin.last
        upto = max(0, last - back)
        if clip:
            upto = min(upto, last)
            ranges = [(a, min(b, last)) for a, b in ranges if a <= last]
            refused = [n for n in refused if n <= last]
        epoch = self.epoch if ours else "f" * 16
        receipt = Receipt("telomere", ledger, epoch, upto, tuple(ranges), tuple(refused))
        done = self.outbox.settle(receipt)
        assert _members(done) == self.twin.settle(receipt, ours=ours, now_ns=self.wall.ns)

    @rule(data=st.data())
    def send_again(self, data: st.DataObject) -> None:
        chosen = data.draw(st.lists(st.sampled_from(sorted(self.twin.rows) or [1]), max_size=4, unique=True))
        self.outbox.note_attempt(chosen)
        for number in chosen:
            if number in self.twin.rows:
                self.twin.rows[number].attempts += 1

    @rule(number=st.integers(1, 30))
    def park(self, number: int) -> None:
        self.outbox.park(number)
        if number in self.twin.unsettled:
            self.twin.rows[number].parked = True

    @rule(days=st.integers(0, 2))
    def days_pass_and_prune(self, days: int) -> None:
        self.wall.ns += days * DAY_NS
        before = len(self.twin.rows)
        self.twin.prune(self.wall.ns - KEEP_DAYS * DAY_NS)
        assert self.outbox.prune() == before - len(self.twin.rows)

    @rule()
    def reopen(self) -> None:
        self.outbox.close()
        self.open()
        assert self.outbox.recovery is None
        assert self.outbox.epoch == self.epoch

    @invariant()
    def holds_the_same(self) -> None:
        twin, status = self.twin, self.outbox.status()
        kept = self.outbox.fetch(range(1, twin.last + 1))
        assert [row.number for row in kept] == sorted(twin.rows)
        pending = [(row.number, row.parked, row.attempts, row.readings) for row in everything(self.outbox)]
        assert pending == [(n, r.parked, r.attempts, r.readings) for n, r in sorted(twin.unsettled.items())]
        assert status.depth_segments == len(twin.unsettled)
        assert status.depth_readings == sum(row.readings for row in twin.unsettled.values())
        assert status.bytes == sum(row.size for row in kept if row.number in twin.unsettled)
        assert status.bytes_kept == sum(row.size for row in kept)
        assert status.parked == sum(row.parked for row in twin.unsettled.values())
        assert (status.last_number, status.readings_sampled) == (twin.last, twin.sampled)
        assert (status.upto, status.ledger, status.beyond_upto) == (twin.upto, twin.ledger, twin.beyond)

    def teardown(self) -> None:
        kept = self.outbox.fetch(range(1, self.twin.last + 1))
        if len(kept) == self.twin.last:
            assert chain_faults(kept, self.epoch) == []
        self.outbox.close()
        self.folder.cleanup()


def _members(done: Settlement) -> set[int]:
    return {n for first, last in done.settled for n in range(first, last + 1)}


OutboxAgainstList.TestCase.settings = settings(
    max_examples=120, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestOutboxAgainstList = OutboxAgainstList.TestCase
