"""The outbox's door: append, hand out, settle, keep, in one SQLite file that two processes may write.

Owns the transactions and the counters kept in the row `state`. Decisions on numbers come from
`model`, the file's birth and repair from `recover`. Must not know brokers, devices or configuration
files. Nothing that another process can change is remembered between transactions: number, previous
digest and depth are read inside each one. Any thread may call; calls are serialised by a lock.
"""

from __future__ import annotations

import json
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Self, TypeVar, cast

import apsw

from gateway.contract.reading import Kind
from gateway.contract.segment import SegmentId
from gateway.outbox import appending, epochs, figures, losing, model, recover, settling, sql
from gateway.outbox.config import OutboxConfig
from gateway.outbox.model import (
    OutboxError,
    OutboxStatus,
    PointBinding,
    Renewal,
    Settlement,
    Stored,
    Tended,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from gateway.contract.receipts import Receipt
    from gateway.outbox.epochs import Span
    from gateway.outbox.model import Draft

BD_SEQ_MODULUS: Final = 256
PRUNE_SEGMENTS_MAX: Final = 2_000
"""Segments deleted in one transaction: with 16 kB bodies some 32 MB, below a second on an SD card."""
GIVE_WAY_BYTES: Final = 4 << 20
"""Receipted bodies given up at once on a full disk: more than the largest flush, a small log to write."""
_DAY_NS: Final = 86_400 * 10**9

_COLUMNS: Final = (
    "place, device, digest, payload, size, readings, appended_ns, attempts, parked_ns IS NOT NULL"
)
_PENDING: Final = (
    f"SELECT {_COLUMNS}"  # noqa: S608 (constants)
    " FROM segment INDEXED BY segment_unsettled JOIN body USING (place)"
    " WHERE settled_ns IS NULL AND place > ? ORDER BY place LIMIT ?"
)
_FETCH: Final = (
    f"SELECT {_COLUMNS}"  # noqa: S608 (constants)
    " FROM segment JOIN body USING (place)"
    " WHERE place IN (SELECT value FROM json_each(?)) ORDER BY place"
)
_UNSETTLED: Final = (
    "SELECT place FROM segment INDEXED BY segment_unsettled"
    " WHERE settled_ns IS NULL AND place > ? ORDER BY place LIMIT ?"
)
_BIND: Final = (
    "INSERT INTO alias (device, name, kind, unit, profile, period_ms) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (device, name, kind, unit, profile) DO UPDATE SET period_ms = excluded.period_ms"
    " RETURNING alias"
)
_BD_SEQ: Final = "UPDATE state SET bd_seq = (ifnull(bd_seq, -1) + 1) % ? RETURNING bd_seq"
_ALIASES: Final = (
    "SELECT alias, last_place, device, name, kind, unit, period_ms, profile FROM alias ORDER BY alias"
)
_PRUNE: Final = (
    "DELETE FROM segment WHERE place IN (SELECT place FROM segment INDEXED BY segment_settled"
    " WHERE settled_ns IS NOT NULL AND settled_ns <= ? AND quarantined_ns IS NULL"
    " ORDER BY settled_ns LIMIT ?) RETURNING place, size"
)


T = TypeVar("T")


class Outbox:
    """Durable store of segments until their receipt and `keep_receipted_days` longer. See the module's text.

    Every method raises OutboxError when the file cannot be read or written; a write that failed was
    rolled back whole and can be repeated with the same arguments.
    """

    def __init__(
        self, *, opened: recover.Opened, path: Path, config: OutboxConfig, now_ns: Callable[[], int]
    ) -> None:
        self.path: Final = path
        self.config: Final = config
        self._now_ns: Final = now_ns
        self._db: Final = opened.db
        self._lock_fd: int | None = opened.lock_fd
        self._lock: Final = threading.RLock()
        self._bound: Final[set[int]] = set()
        self.recovery: Final = opened.recovery
        """What was moved aside by this opening; `last_recovery` also tells of an earlier one."""
        recover.keep_ballast(path)
        self.opened: Final = self.epochs()
        """How it was found; what an earlier process may have sent is part of that."""

    @property
    def epoch(self) -> str:
        """16 hex digits, made when this store was created. Read from the file: it may be renewed there."""
        with self._reading("reading the epoch"):
            return str(sql.only(self._db, "SELECT epoch FROM state")[0])

    @classmethod
    def open(cls, path: Path, *, now_ns: Callable[[], int], config: OutboxConfig | None = None) -> Self:
        """Open or create the store file at `path` (by custom `data_dir/outbox.db`); `now_ns` is wall time.

        A damaged file is moved to `quarantine/` and a new store begun: see `recovery`.
        """
        opened = recover.open_store(path, now_ns=now_ns())
        return cls(opened=opened, path=path, config=config or OutboxConfig(), now_ns=now_ns)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        with self._lock:
            self._db.close()
            if self._lock_fd is not None:
                os.close(self._lock_fd)
                self._lock_fd = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- writing -----------------------------------------------------------------------------

    def append(self, drafts: Sequence[Draft], *, facts: Mapping[str, str] | None = None) -> list[SegmentId]:
        """Store these segments, synced to disk, in ONE transaction, and `facts` with them.

        Over `bytes_max` receipted segments make room, then the lowest priority's oldest, whose loss is
        declared in the same transaction. A full disk is tried once more without receipted segments.
        Raises ValueError for a draft without metrics, before anything is written.
        """
        if any(len(draft.block) == 0 for draft in drafts):
            msg = "a segment without metrics cannot be stored"
            raise ValueError(msg)
        try:
            return self._append(drafts, facts or {})
        except OutboxError as fault:
            if not isinstance(fault.__cause__, apsw.FullError) or not self._give_way():
                raise
        return self._append(drafts, facts or {})

    def _in_need(self, work: Callable[[], T]) -> T:
        """For what frees room in the end: on a full disk it may use the ballast."""
        try:
            return work()
        except OutboxError as fault:
            if not isinstance(fault.__cause__, apsw.FullError) or not recover.drop_ballast(self.path):
                raise
        return work()

    def _append(self, drafts: Sequence[Draft], facts: Mapping[str, str]) -> list[SegmentId]:
        now_ns = self._now_ns()
        with self._writing("appending to the outbox"):
            if not recover.keep_ballast(self.path) and not losing.fits_free_pages(self._db, drafts):
                raise apsw.FullError("what is left of the disk is kept for receipts")
            ids = appending.append(self._db, drafts, now_ns=now_ns)
            told = losing.make_room(
                self._db, keep_after=len(ids), bytes_max=int(self.config.bytes_max), now_ns=now_ns
            )
            appending.append(self._db, told, now_ns=now_ns)
            self._note(facts)
        return ids

    def _give_way(self) -> bool:
        """On a full disk: delete receipted segments, whose pages the next append uses again."""

        def drop() -> bool:
            with self._writing("making room"):
                return losing.drop_settled(self._db, size=GIVE_WAY_BYTES) > 0

        try:
            return self._in_need(drop)
        except OutboxError:
            return False  # the disk refuses even that: the append's own failure is what counts

    def begin_epoch(self, *, cause: str, ended: str) -> Renewal:
        """End the epoch `ended`: what has no receipt goes on under new numbers of a new epoch.

        For a store that was rolled back: its numbers mean other segments at the collector. Does nothing
        when `ended` is not the current epoch.
        """
        now_ns = self._now_ns()
        with self._writing("beginning a new epoch"):
            renewal, damaged = epochs.begin(self._db, cause=cause, ended=ended, now_ns=now_ns)
            if damaged:
                losing.quarantine(self._db, damaged, now_ns=now_ns)
                renewal = epochs.renewal(self._db, moved=renewal.moved)
        return renewal

    def bind(self, bindings: Sequence[PointBinding]) -> dict[PointBinding, int]:
        """The alias of each binding, persisted: the one it always had, or a new one. Never reused."""
        aliases: dict[PointBinding, int] = {}
        with self._writing("binding aliases"):
            for point in bindings:
                identity = (
                    point.device,
                    point.name,
                    str(point.kind),
                    point.unit,
                    point.profile,
                    point.period_ms,
                )
                row = sql.only(self._db, _BIND, identity)
                aliases[point] = int(row[0])
        with self._lock:
            self._bound.update(aliases.values())
        return aliases

    def next_bd_seq(self) -> int:
        """The bdSeq of the next CONNECT, on disk before it is returned; the first is 0."""
        with self._writing("counting bdSeq"):
            return int(sql.only(self._db, _BD_SEQ, (BD_SEQ_MODULUS,))[0])

    def remember(self, key: str, value: str) -> None:
        """Keep a small fact, synced to disk."""
        with self._writing("keeping a fact"):
            self._note({key: value})

    def _note(self, facts: Mapping[str, str]) -> None:
        self._db.executemany(
            "INSERT INTO fact VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            facts.items(),
        )

    # --- after sending -----------------------------------------------------------------------

    def note_attempt(self, places: Sequence[int]) -> None:
        """These segments were sent once more. Call it for every re-send; it costs no sync to disk."""

        def note() -> None:
            with self._relaxed("noting an attempt"):
                self._db.executemany(
                    "UPDATE segment SET attempts = attempts + 1 WHERE place = ?",
                    ((place,) for place in places),
                )

        self._in_need(note)

    def note_sending(self, place: int) -> None:
        """Nothing above `place` was sent yet; on the disk before it returns. Call it before sending there."""

        def note() -> None:
            with self._writing("noting what is sent"):
                self._db.execute("UPDATE state SET sent_place = ?", (place,))

        self._in_need(note)

    def park(self, place: int) -> None:
        """Take an unsettled segment out of the ordinary order (kept, alarmed, sent hourly)."""
        with self._relaxed("parking a segment"):
            settling.park(self._db, place, now_ns=self._now_ns())

    def settle(
        self, receipt: Receipt, *, now_ns: int | None = None, sent_place: int | None = None
    ) -> Settlement:
        """Carry out a receipt (the caller has checked its host). Idempotent; a lost settlement is repeated.

        See `Settlement` for what it reports, `model.plan` for the rules. Nothing above `sent_place` was
        ever sent from here: a receipt for it can only be another store's, of which this is a copy.
        """
        at_ns = self._now_ns() if now_ns is None else now_ns

        def carry_out() -> Settlement:
            with self._relaxed("settling a receipt"):
                return settling.carry_out(self._db, receipt, now_ns=at_ns, sent_place=sent_place)

        done = self._in_need(carry_out)
        if done.damaged:
            # Numbers were given to statements of loss: those must be on the disk before they are sent.
            self.remember("outbox.damaged", str(done.damaged[-1]))
        return done

    def published(self, places: Sequence[int]) -> None:
        """Receipts are optional and the broker has these: that settles them."""
        with self._relaxed("settling what is published"):
            settling.publish(self._db, places, now_ns=self._now_ns())

    def prune(self, *, now_ns: int | None = None, keep_days: float | None = None) -> int:
        """Delete what was settled `keep_receipted_days` ago, at most PRUNE_SEGMENTS_MAX; how many it was.

        `tend` calls it. Call it again at once when it returns PRUNE_SEGMENTS_MAX.
        """
        at_ns = self._now_ns() if now_ns is None else now_ns
        days = self.config.keep_receipted_days if keep_days is None else keep_days
        with self._relaxed("pruning receipted segments"):
            rows = sql.rows(self._db, _PRUNE, (at_ns - int(days * _DAY_NS), PRUNE_SEGMENTS_MAX))
            self._db.executemany("DELETE FROM body WHERE place = ?", ((row[0],) for row in rows))
            self._db.execute("UPDATE state SET kept_bytes = kept_bytes - ?", (sum(row[1] for row in rows),))
        return len(rows)

    def tend(self, *, keep_days: float | None = None) -> Tended:
        """What is due every minute: prune, declare lost what is too old, tell a change of the fill level.

        Bounded: `more` says that there is more to do at once.
        """
        recover.keep_ballast(self.path)
        now_ns = self._now_ns()
        pruned = self.prune(now_ns=now_ns, keep_days=keep_days)
        before_ns = now_ns - int(self.config.age_days_max * _DAY_NS)
        aged = 0
        if self._is_older(before_ns):
            with self._writing("declaring old segments lost"):
                aged = losing.age_out(self._db, before_ns=before_ns, now_ns=now_ns)
        status = self.status()
        level = model.fill_level(status.fill_level, figures.fraction(status, self.config, now_ns=now_ns))
        if level != status.fill_level:
            with self._writing("telling how full the outbox is"):
                figures.tell_level(self._db, status, level=level, now_ns=now_ns)
        return Tended(
            pruned=pruned,
            level_before=status.fill_level,
            level=level,
            segments_lost=status.segments_lost,
            readings_lost=status.readings_lost,
            full_in_s=status.forecast_full_s,
            more=pruned == PRUNE_SEGMENTS_MAX or aged == losing.AGED_AT_ONCE,
        )

    def _is_older(self, before_ns: int) -> bool:
        with self._reading("looking for old segments"):
            return losing.is_older(self._db, before_ns=before_ns)

    # --- reading -----------------------------------------------------------------------------

    def pending(self, *, after: int, count_max: int, bytes_max: int) -> list[Stored]:
        """Unsettled segments at places above `after`, ascending, parked ones too (flagged).

        At most so many, and so many bytes of bodies, but always one, however large. A segment whose
        body lies on a damaged page is quarantined and declared lost, and the rest goes on.
        """
        try:
            return self._pending(after, count_max, bytes_max)
        except OutboxError as fault:
            if not isinstance(fault.__cause__, apsw.CorruptError) or not self._set_aside(after, count_max):
                raise
        return self._pending(after, count_max, bytes_max)

    def _pending(self, after: int, count_max: int, bytes_max: int) -> list[Stored]:
        with self._reading("reading pending segments"):
            known = epochs.spans(self._db)
            cursor = self._db.execute(_PENDING, (after, count_max))
            try:
                return list(model.within((_stored(row, known) for row in cursor), bytes_max=bytes_max))
            finally:
                cursor.close()

    def _set_aside(self, after: int, count_max: int) -> int:
        """Quarantine what cannot be read of the next segments; how many they were."""
        with self._reading("looking for damaged segments"):
            places = [int(row[0]) for row in sql.rows(self._db, _UNSETTLED, (after, count_max))]
        damaged = []
        for place in places:
            try:
                self.fetch([place])
            except OutboxError as fault:
                if not isinstance(fault.__cause__, apsw.CorruptError):
                    raise
                damaged.append(place)
        with self._writing("setting damaged segments aside"):
            losing.quarantine(self._db, damaged, now_ns=self._now_ns())
        return len(damaged)

    def fetch(self, places: Sequence[int]) -> list[Stored]:
        """These segments, settled or not, ascending; places where nothing is kept are left out."""
        with self._reading("reading segments"):
            known = epochs.spans(self._db)
            rows = self._db.execute(_FETCH, (json.dumps(list(places)),))
            return [_stored(row, known) for row in rows]

    def bindings(self) -> list[tuple[int, PointBinding]]:
        """What births must list: aliases bound by this process, and all that a kept segment may need."""
        with self._reading("reading aliases"):
            lowest = sql.only(self._db, "SELECT ifnull(min(place), 1) FROM segment")[0]
            rows = sql.rows(self._db, _ALIASES)
        return [
            (alias, PointBinding(device, name, Kind(kind), unit, period_ms, profile))
            for alias, last, device, name, kind, unit, period_ms, profile in rows
            if alias in self._bound or last >= lowest
        ]

    def data_version(self) -> int:
        """Changes when another process (or another Outbox) has written; own writes do not count."""
        with self._reading("reading the data version"):
            return int(self._db.pragma("data_version"))

    def last_number(self) -> int:
        """The highest number given in this epoch; 0 before the first."""
        with self._reading("reading the last number"):
            return int(sql.only(self._db, "SELECT last_number FROM state")[0])

    def last_place(self) -> int:
        """The highest place of the store: where its newest segment lies or lay. 0 before the first."""
        with self._reading("reading the last place"):
            return int(sql.only(self._db, "SELECT base + last_number FROM state")[0])

    def epochs(self) -> Renewal:
        """The epochs that this store speaks of, as a session must know them."""
        with self._reading("reading the epochs"):
            return epochs.renewal(self._db)

    def epochs_to_declare(self) -> tuple[str, ...]:
        """Ended epochs whose segments wait for a receipt: births declare their names as well."""
        with self._reading("reading the ended epochs"):
            return epochs.to_declare(self._db)

    def recall(self, key: str) -> str | None:
        """A fact kept by `remember` or with `append`."""
        with self._reading("reading a fact"):
            row = sql.first(self._db, "SELECT value FROM fact WHERE key = ?", (key,))
        return None if row is None else str(row[0])

    def last_recovery(self) -> recover.Recovery | None:
        """The last time a damaged file was moved aside here, also by an earlier process."""
        text = self.recall(recover.RECOVERY_FACT)
        return None if text is None else recover.Recovery(**json.loads(text))

    def status(self) -> OutboxStatus:
        """Figures of one moment, from counters and index seeks: cheap whatever the depth."""
        with self._reading("reading the outbox's state"):
            return figures.status(self._db, config=self.config, path=self.path, now_ns=self._now_ns())

    # --- transactions ------------------------------------------------------------------------

    @contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        """One state of the file, held no longer than the call: a reader that stays lets the log grow."""
        with self._transaction(what, "BEGIN"):
            yield

    @contextmanager
    def _writing(self, what: str) -> Iterator[None]:
        """One transaction, on the disk when it returns, or rolled back whole."""
        with self._transaction(what, "BEGIN IMMEDIATE"):
            yield

    @contextmanager
    def _transaction(self, what: str, begin: str) -> Iterator[None]:
        with self._lock:
            begun = done = False
            try:
                self._db.execute(begin)
                begun = True
                yield
                self._db.execute("COMMIT")
                done = True
            except apsw.Error as fault:
                if isinstance(fault, apsw.CorruptError):
                    recover.mark_suspect(self.path)
                raise recover.explain(fault, what=what, path=self.path) from fault
            finally:
                if begun and not done and self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    @contextmanager
    def _relaxed(self, what: str) -> Iterator[None]:
        """One transaction that a power cut may undo, whole: what a repeated receipt or send restores.

        Saves the sync that a receipt five times a second would cost an SD card. Never for appends.
        """
        with self._lock:
            self._db.pragma("synchronous", "normal")
            try:
                with self._writing(what):
                    yield
            finally:
                self._db.pragma("synchronous", "full")


def _stored(row: tuple[object, ...], known: Sequence[Span]) -> Stored:
    place, device, digest, body, size, readings, appended_ns, attempts, parked = row
    span = epochs.at(known, cast("int", place))
    return Stored(
        place=cast("int", place),
        epoch=span.epoch,
        number=span.number(cast("int", place)),
        device=cast("str", device),
        digest=cast("str", digest),
        body=cast("bytes", body),
        size=cast("int", size),
        readings=cast("int", readings),
        appended_ns=cast("int", appended_ns),
        attempts=cast("int", attempts),
        parked=bool(parked),
    )
