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
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Self

import apsw

from gateway.contract.codec import encode_body
from gateway.contract.reading import Kind
from gateway.contract.segment import SegmentId, digest
from gateway.outbox import figures, model, recover, settling, sql
from gateway.outbox.config import OutboxConfig
from gateway.outbox.model import OutboxStatus, PointBinding, Settlement, Stored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from gateway.contract.receipts import Receipt
    from gateway.outbox.model import Draft

BD_SEQ_MODULUS: Final = 256
PRUNE_SEGMENTS_MAX: Final = 2_000
"""Segments deleted in one transaction: with 16 kB bodies some 32 MB, below a second on an SD card."""
_DAY_NS: Final = 86_400 * 10**9

_COLUMNS: Final = (
    "number, device, digest, payload, size, readings, appended_ns, attempts, parked_ns IS NOT NULL"
)
_PENDING: Final = (
    f"SELECT {_COLUMNS}"  # noqa: S608 (constants)
    " FROM segment INDEXED BY segment_unsettled JOIN body USING (number)"
    " WHERE settled_ns IS NULL AND number > ? ORDER BY number LIMIT ?"
)
_FETCH: Final = (
    f"SELECT {_COLUMNS}"  # noqa: S608 (constants)
    " FROM segment JOIN body USING (number)"
    " WHERE number IN (SELECT value FROM json_each(?)) ORDER BY number"
)
_INSERT: Final = (
    "INSERT INTO segment"
    " (number, device, digest, priority, readings, size, bytes_before, first_ms, appended_ns)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?); INSERT INTO body (number, payload) VALUES (?, ?)"
)
_CHAIN: Final = "SELECT epoch, last_number, last_digest, appended_bytes FROM state"
_ALIAS_USED: Final = "UPDATE alias SET last_number = ? WHERE alias = ?"
_APPENDED: Final = (
    "UPDATE state SET last_number = last_number + ?1, last_digest = ?2, depth_segments = depth_segments + ?1,"
    " depth_readings = depth_readings + ?3, readings_sampled = readings_sampled + ?3,"
    " depth_bytes = depth_bytes + ?4, kept_bytes = kept_bytes + ?4, appended_bytes = appended_bytes + ?4"
)
_BIND: Final = (
    "INSERT INTO alias (device, name, kind, unit, profile, period_ms) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (device, name, kind, unit, profile) DO UPDATE SET period_ms = excluded.period_ms"
    " RETURNING alias"
)
_BD_SEQ: Final = "UPDATE state SET bd_seq = (ifnull(bd_seq, -1) + 1) % ? RETURNING bd_seq"
_ALIASES: Final = (
    "SELECT alias, last_number, device, name, kind, unit, period_ms, profile FROM alias ORDER BY alias"
)
_PRUNE: Final = (
    "DELETE FROM segment WHERE number IN (SELECT number FROM segment INDEXED BY segment_settled"
    " WHERE settled_ns IS NOT NULL AND settled_ns <= ? ORDER BY settled_ns LIMIT ?) RETURNING number, size"
)


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

        Raises ValueError for a draft without metrics, before anything is written.
        """
        if any(len(draft.block) == 0 for draft in drafts):
            msg = "a segment without metrics cannot be stored"
            raise ValueError(msg)
        appended_ns = self._now_ns()
        with self._writing("appending to the outbox"):
            epoch, number, previous, before = sql.only(self._db, _CHAIN)
            rows: list[tuple[str | int | bytes, ...]] = []
            ids: list[SegmentId] = []
            used: dict[int, int] = {}
            readings = size = 0
            for at, draft in enumerate(drafts, start=number + 1):
                identity, body = _sealed(draft, epoch=epoch, number=at, previous=previous)
                previous = identity.digest
                counted = model.count_readings(draft.block) if draft.readings is None else draft.readings
                place = (at, draft.device, previous, draft.priority, counted, len(body), before + size)
                rows.append((*place, int(draft.block.time_ms[0]), appended_ns, at, body))
                ids.append(identity)
                readings, size = readings + counted, size + len(body)
                used.update(dict.fromkeys(model.aliases_of(draft.block), at))
            self._db.executemany(_INSERT, rows)
            self._db.executemany(_ALIAS_USED, [(last, alias) for alias, last in used.items()])
            self._db.execute(_APPENDED, (len(ids), previous, readings, size))
            self._note(facts or {})
        return ids

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

    def note_attempt(self, numbers: Sequence[int]) -> None:
        """These segments were sent once more. Call it for every re-send; it costs no sync to disk."""
        with self._relaxed("noting an attempt"):
            self._db.executemany(
                "UPDATE segment SET attempts = attempts + 1 WHERE number = ?",
                ((number,) for number in numbers),
            )

    def park(self, number: int) -> None:
        """Take an unsettled segment out of the ordinary order (kept, alarmed, sent hourly)."""
        with self._relaxed("parking a segment"):
            settling.park(self._db, number, now_ns=self._now_ns())

    def settle(self, receipt: Receipt, *, now_ns: int | None = None) -> Settlement:
        """Carry out a receipt (the caller has checked its host). Idempotent; a lost settlement is repeated.

        See `Settlement` for what it reports, `model.plan` for the rules.
        """
        at_ns = self._now_ns() if now_ns is None else now_ns
        with self._relaxed("settling a receipt"):
            return settling.carry_out(self._db, receipt, now_ns=at_ns)

    def prune(self, *, now_ns: int | None = None) -> int:
        """Delete what was settled `keep_receipted_days` ago, at most PRUNE_SEGMENTS_MAX; how many it was.

        Call it now and then, again at once when it returns PRUNE_SEGMENTS_MAX.
        """
        at_ns = self._now_ns() if now_ns is None else now_ns
        until_ns = at_ns - int(self.config.keep_receipted_days * _DAY_NS)
        with self._relaxed("pruning receipted segments"):
            rows = sql.rows(self._db, _PRUNE, (until_ns, PRUNE_SEGMENTS_MAX))
            self._db.executemany("DELETE FROM body WHERE number = ?", ((row[0],) for row in rows))
            self._db.execute("UPDATE state SET kept_bytes = kept_bytes - ?", (sum(row[1] for row in rows),))
        return len(rows)

    # --- reading -----------------------------------------------------------------------------

    def pending(self, *, after: int, count_max: int, bytes_max: int) -> list[Stored]:
        """Unsettled segments above `after`, ascending, parked ones too (flagged).

        At most so many, and so many bytes of bodies, but always one, however large.
        """
        with self._reading("reading pending segments"):
            cursor = self._db.execute(_PENDING, (after, count_max))
            try:
                return list(model.within((_stored(row) for row in cursor), bytes_max=bytes_max))
            finally:
                cursor.close()

    def fetch(self, numbers: Sequence[int]) -> list[Stored]:
        """These segments, settled or not, ascending; numbers that are not kept are left out."""
        with self._reading("reading segments"):
            rows = self._db.execute(_FETCH, (json.dumps(list(numbers)),))
            return [_stored(row) for row in rows]

    def bindings(self) -> list[tuple[int, PointBinding]]:
        """What births must list: aliases bound by this process, and all that a kept segment may need."""
        with self._reading("reading aliases"):
            lowest = sql.only(self._db, "SELECT ifnull(min(number), 1) FROM segment")[0]
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


def _sealed(draft: Draft, *, epoch: str, number: int, previous: str) -> tuple[SegmentId, bytes]:
    """The segment's identity in the chain, and its body."""
    clock, block = str(draft.clock), draft.block
    fixed = digest(
        previous=previous, epoch=epoch, number=number, device=draft.device, clock=clock, block=block
    )
    identity = SegmentId(epoch, number, fixed)
    return identity, encode_body(segment=identity, clock=clock, block=block, time_ms=int(block.time_ms[0]))


def _stored(row: tuple[object, ...]) -> Stored:
    stored = Stored(*row)  # type: ignore[arg-type]  # column order is _STORED's
    return replace(stored, parked=bool(stored.parked))
