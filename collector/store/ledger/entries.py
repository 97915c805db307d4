"""What the ledger holds: its tables, its rows and what is given to it.

Owns the kinds of entries, the drafts of a commit, what became of them, and the columns of a row. Must
not know how they are written or read.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from collector.store.database import Row
from gateway.contract.receipts import Range

LEDGER_NAME: Final = "ledger.db"
RESTORES_KEY: Final = "restores"

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS entry (
  id INTEGER PRIMARY KEY, kind TEXT NOT NULL, grp TEXT NOT NULL, node TEXT NOT NULL, device TEXT NOT NULL,
  epoch TEXT, number INTEGER, digest TEXT, attempt INTEGER NOT NULL, t_min_ms INTEGER, t_max_ms INTEGER,
  n INTEGER NOT NULL, received_at INTEGER NOT NULL, known_at INTEGER NOT NULL, payload BLOB NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS entry_segment ON entry (grp, node, epoch, number, digest, attempt)
  WHERE kind = 'segment';
CREATE UNIQUE INDEX IF NOT EXISTS entry_undecodable ON entry (grp, node, device, digest)
  WHERE kind = 'undecodable';
CREATE UNIQUE INDEX IF NOT EXISTS entry_file ON entry (digest) WHERE kind = 'file';
CREATE INDEX IF NOT EXISTS entry_time ON entry (grp, node, device, t_min_ms, t_max_ms)
  WHERE t_min_ms IS NOT NULL;
CREATE INDEX IF NOT EXISTS entry_bad ON entry (id) WHERE kind = 'undecodable';
CREATE TABLE IF NOT EXISTS settled (
  id INTEGER NOT NULL, epoch TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS settled_id ON settled (id);
CREATE TABLE IF NOT EXISTS repeat (
  grp TEXT, node TEXT, epoch TEXT, n INTEGER NOT NULL, PRIMARY KEY (grp, node, epoch)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS archive (
  first INTEGER PRIMARY KEY, last INTEGER NOT NULL, name TEXT NOT NULL, bytes INTEGER NOT NULL,
  sha256 TEXT NOT NULL, payload_bytes INTEGER NOT NULL, made_at INTEGER NOT NULL);
"""
COLUMNS: Final = (
    "id, kind, grp, node, device, epoch, number, digest, attempt, t_min_ms, t_max_ms, n,"
    " received_at, known_at"
)


PAYLOAD_BYTES: Final = "CASE typeof(payload) WHEN 'integer' THEN payload ELSE length(payload) END"
"""A payload that lies in an archive file has left its length in its place."""


class EntryKind(StrEnum):
    """What a row of the ledger is."""

    SEGMENT = "segment"
    NBIRTH = "nbirth"
    DBIRTH = "dbirth"
    NDEATH = "ndeath"
    DDEATH = "ddeath"
    FOREIGN = "foreign"
    UNDECODABLE = "undecodable"
    FILE = "file"
    """A file that somebody brought, as received; `digest` is its SHA-256."""
    WITHDRAWAL = "withdrawal"
    """Two persons took back what was read from a file: the stream `epoch` gives no readings from here on."""


class Outcome(StrEnum):
    """What the ledger did with a draft."""

    NEW = "new"
    DUPLICATE = "duplicate"
    FORK = "fork"
    DROPPED = "dropped"
    """Unreadable and over the limit: counted, not kept, not to be receipted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """One message to commit. `device` is `-` for the node; `received_ns` is wall time of arrival.

    `epoch`, `number` and `digest` are the segment's claimed identity (for an undecodable message the
    digest is the payload's SHA-256). `resend` says that the content under this identity was refused
    before: it is then kept beside the refused one instead of counting as a duplicate. `settles` are
    (epoch, numbers) that a loss event in it says will never arrive.
    """

    kind: EntryKind
    group: str
    node: str
    device: str
    payload: bytes
    received_ns: int
    epoch: str | None = None
    number: int | None = None
    digest: str | None = None
    t_min_ms: int | None = None
    t_max_ms: int | None = None
    n: int = 0
    resend: bool = False
    settles: tuple[tuple[str, Range], ...] = ()


@dataclass(frozen=True, slots=True)
class Committed:
    """A draft, what became of it, and the id of its row (0 for a duplicate or dropped)."""

    draft: Draft
    outcome: Outcome
    id: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the ledger; `payload` is empty when it was not asked for, or `lost`: why its archive file
    does not give it.
    """

    id: int
    kind: EntryKind
    group: str
    node: str
    device: str
    epoch: str | None
    number: int | None
    digest: str | None
    attempt: int
    t_min_ms: int | None
    t_max_ms: int | None
    n: int
    received_ns: int
    known_ns: int
    payload: bytes = b""
    lost: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """The last id that is known at `known_ns`; nothing committed later gets a known time that early."""

    id: int
    known_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """The ledger was put back from a backup of `from_ledger`: what that knew later is not in it."""

    from_ledger: str
    ledger: int
    journal: int
    backup_created: str
    restored_ns: int


def entry_of(row: Row) -> Entry:
    """A row of COLUMNS, with or without the payload behind them."""
    return Entry(row[0], EntryKind(row[1]), *row[2:])
