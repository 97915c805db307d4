"""The journal: every decision made here, in the order in which it became known. Append-only.

Owns the registry's database and its one writer; `known_at` is given inside the transaction and
never decreases. Must not know what rows mean (`commands`, `collector.identity`). Calls block for a
disk flush: from the event loop, call them in a thread.
"""

from __future__ import annotations

import hashlib
import json
import threading
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event, insert, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from collector.identity.rows import JournalRow
from collector.registry.anchor import Anchor, End
from collector.registry.errors import RegistryError
from collector.registry.tables import ANSWER, JOURNAL, migrate

BUSY_TIMEOUT_MS: Final = 5000
"""How long a commit waits for a reader of the file (a backup) before it fails."""
FILE_NAME: Final = "registry.db"
ANCHOR_NAME: Final = "registry.anchor"
ANCHORED: Final = "journal"
"""What its anchor calls it: a registry has no id of its own."""


def canonical(body: Mapping[str, Any]) -> str:
    """JSON with sorted keys and no spaces; NaN is refused (ValueError)."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _engine(url: str, data_dir: Path) -> Engine:
    """`sqlite:` alone means registry.db in the data directory."""
    full = f"sqlite:///{data_dir / FILE_NAME}" if url in ("sqlite:", "sqlite://") else url
    try:
        parsed = make_url(full)
    except ArgumentError as error:
        msg = f'[registry] url {url!r} is no database URL; write "sqlite:" for a file in data_dir'
        raise RegistryError(msg) from error
    if parsed.get_backend_name() != "sqlite":
        msg = f'[registry] url: {parsed.get_backend_name()} is not built yet; write "sqlite:"'
        raise RegistryError(msg)
    engine = create_engine(parsed, connect_args={"check_same_thread": False})
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions are ours, see _begin
    for pragma in ("journal_mode=DELETE", "synchronous=FULL", f"busy_timeout={BUSY_TIMEOUT_MS}"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _keep(connection: Connection, answer: bytes) -> None:
    sha256 = hashlib.sha256(answer).hexdigest()
    if connection.execute(select(ANSWER.c.sha256).where(ANSWER.c.sha256 == sha256)).scalar() is None:
        connection.execute(insert(ANSWER).values(sha256=sha256, bytes=answer))


class Journal:
    """One process opens a registry; any thread may call.

    Rows are also kept in memory (they are few, and every judged answer folds them).
    """

    def __init__(self, *, engine: Engine, now_ns: Callable[[], int], anchor: Anchor | None = None) -> None:
        self._engine = engine
        self._anchor = anchor
        self._now_ns = now_ns
        self._lock = threading.RLock()
        self._rows: list[JournalRow] = []
        self._asked_ns = -1
        with engine.begin() as connection:
            migrate(connection)
            for row in connection.execute(select(JOURNAL).order_by(JOURNAL.c.id)):
                self._rows.append(
                    JournalRow(
                        id=row.id,
                        known_at_ns=row.known_at_ns,
                        actor=row.actor,
                        kind=row.kind,
                        subject=row.subject,
                        body=json.loads(row.body),
                        reason=row.reason,
                    )
                )

    @classmethod
    def open(cls, *, url: str, data_dir: Path, now_ns: Callable[[], int]) -> Journal:
        """Open or create. RegistryError says why it cannot be used."""
        data_dir.mkdir(parents=True, exist_ok=True)
        engine = _engine(url, data_dir)
        try:
            return cls(engine=engine, now_ns=now_ns, anchor=Anchor(data_dir / ANCHOR_NAME))
        except SQLAlchemyError as error:
            msg = f"the registry {engine.url} cannot be opened: {error}; restore it from a backup"
            raise RegistryError(msg) from error

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the writer, so that what a decision was checked against is still so when it is written."""
        with self._lock:
            yield

    def append(
        self,
        *,
        kind: str,
        subject: str,
        body: Mapping[str, Any],
        actor: str,
        reason: str = "",
        answer: bytes | None = None,
    ) -> JournalRow:
        """Commit one row and return it with its id and known time. RegistryError when the file takes none.

        `answer`, what the row signs, is kept with it under its SHA-256.
        """
        text = canonical(body)
        with self._lock:
            last_ns = max(self._rows[-1].known_at_ns if self._rows else 0, self._asked_ns + 1)
            try:
                with self._engine.begin() as connection:
                    known_ns = max(self._now_ns(), last_ns)
                    if answer is not None:
                        _keep(connection, answer)
                    result = connection.execute(
                        insert(JOURNAL).values(
                            known_at_ns=known_ns,
                            actor=actor,
                            kind=str(kind),
                            subject=subject,
                            body=text,
                            reason=reason,
                        )
                    )
                    primary_key = result.inserted_primary_key
            except DBAPIError as error:
                msg = f"the journal took no row: {error.orig}; nothing was written: make room"
                raise RegistryError(msg) from error
            assert primary_key is not None, "an insert of one row has a key"
            row = JournalRow(
                id=int(primary_key[0]),
                known_at_ns=known_ns,
                actor=actor,
                kind=str(kind),
                subject=subject,
                body=json.loads(text),
                reason=reason,
            )
            self._rows.append(row)
            self.remember_end()
            return row

    def answer(self, sha256: str) -> bytes | None:
        """A signed answer as it was, None when there is none of that hash."""
        with self._lock, self._engine.begin() as connection:
            found = connection.execute(select(ANSWER.c.bytes).where(ANSWER.c.sha256 == sha256)).scalar()
            return None if found is None else bytes(found)

    def lost_end(self) -> End | None:
        """The end that its anchor remembers, when that is not there any more: rows were lost."""
        end = None if self._anchor is None else self._anchor.read()
        if end is None or end.original != ANCHORED or not end.id:
            return None
        held = self.rows(after=end.id - 1, upto=end.id)
        return None if held and held[0].known_at_ns == end.known_ns else end

    def remember_end(self) -> None:
        """Write the anchor; at the start only once a lost end has been told."""
        if self._anchor is not None and self._rows:
            last = self._rows[-1]
            self._anchor.write(End(original=ANCHORED, id=last.id, known_ns=last.known_at_ns))

    def next_id(self) -> int:
        """The id the next row will have; only meaningful inside `exclusive`."""
        return self.last() + 1

    def rows(
        self, *, after: int = 0, upto: int | None = None, kinds: Collection[str] | None = None
    ) -> list[JournalRow]:
        """Rows with after < id <= upto of these kinds (all without), by id."""
        with self._lock:
            first = bisect_right(self._rows, after, key=lambda row: row.id)
            end = None if upto is None else bisect_right(self._rows, upto, key=lambda row: row.id)
            found = self._rows[first:end]
        return found if kinds is None else [row for row in found if row.kind in kinds]

    def last(self) -> int:
        """The id of the last row, 0 before the first."""
        with self._lock:
            return self._rows[-1].id if self._rows else 0

    def known_ns(self, row_id: int) -> int:
        """Known time of the last row with id <= row_id, 0 before the first."""
        with self._lock:
            at = bisect_right(self._rows, row_id, key=lambda row: row.id)
            return self._rows[at - 1].known_at_ns if at else 0

    def id_at(self, known_ns: int) -> int:
        """The last id known at or before that time, 0 when none was.

        Closes the journal up to that time (not after now): no later row gets a known time that early,
        even if the clock is set back.
        """
        with self._lock:
            self._asked_ns = max(self._asked_ns, known_ns)
            at = bisect_right(self._rows, known_ns, key=lambda row: row.known_at_ns)
            return self._rows[at - 1].id if at else 0

    def close(self) -> None:
        """Close the file; nothing is pending."""
        self._engine.dispose()
        if self._anchor is not None:
            self._anchor.close()
