"""The store's tables, their version, and the way from an older one.

A segment lies at a **place**: places rise by one over the whole store, whatever its epochs. The place of
a number is the epoch's `base` plus the number; a new epoch's base is the last place before it. So the
order of places is the order of appends, and an epoch is one interval of places. Must not know what a
segment means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.outbox import sql

if TYPE_CHECKING:
    import apsw

SCHEMA_VERSION: Final = 2
APPLICATION_ID: Final = 0x544C4D52
""""TLMR" in the file's header: what is not ours is refused, never moved."""

_PAST: Final = """
CREATE TABLE past (
    epoch TEXT PRIMARY KEY, base INTEGER NOT NULL, last_number INTEGER NOT NULL,
    ledger TEXT, upto INTEGER NOT NULL DEFAULT 0,
    named INTEGER NOT NULL, ended_ns INTEGER NOT NULL, cause TEXT NOT NULL
) STRICT, WITHOUT ROWID;
"""
"""Epochs that were; `named`: the aliases of this store are theirs too, so births may declare them."""

SCHEMA: Final = f"""
CREATE TABLE state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    epoch TEXT NOT NULL, created_ns INTEGER NOT NULL,
    last_number INTEGER NOT NULL DEFAULT 0, last_digest TEXT NOT NULL,
    bd_seq INTEGER,
    ledger TEXT, upto INTEGER NOT NULL DEFAULT 0, beyond_upto INTEGER NOT NULL DEFAULT 0,
    depth_segments INTEGER NOT NULL DEFAULT 0, depth_readings INTEGER NOT NULL DEFAULT 0,
    depth_bytes INTEGER NOT NULL DEFAULT 0, kept_bytes INTEGER NOT NULL DEFAULT 0,
    appended_bytes INTEGER NOT NULL DEFAULT 0,
    readings_sampled INTEGER NOT NULL DEFAULT 0, sampled_before INTEGER NOT NULL DEFAULT 0,
    readings_lost INTEGER NOT NULL DEFAULT 0,
    base INTEGER NOT NULL DEFAULT 0, segments_lost INTEGER NOT NULL DEFAULT 0,
    fill_level INTEGER NOT NULL DEFAULT 0, sent_place INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE segment (
    place INTEGER PRIMARY KEY,
    device TEXT NOT NULL, digest TEXT NOT NULL, priority INTEGER NOT NULL,
    readings INTEGER NOT NULL, size INTEGER NOT NULL, bytes_before INTEGER NOT NULL,
    first_ms INTEGER NOT NULL, appended_ns INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, refused_at INTEGER, parked_ns INTEGER, settled_ns INTEGER,
    quarantined_ns INTEGER
) STRICT;
CREATE INDEX segment_unsettled ON segment (place) WHERE settled_ns IS NULL;
CREATE INDEX segment_settled ON segment (settled_ns) WHERE settled_ns IS NOT NULL;
CREATE INDEX segment_parked ON segment (place) WHERE parked_ns IS NOT NULL AND settled_ns IS NULL;
CREATE INDEX segment_quarantined ON segment (place) WHERE quarantined_ns IS NOT NULL;
CREATE INDEX segment_appended ON segment (appended_ns);
CREATE TABLE body (place INTEGER PRIMARY KEY, payload BLOB NOT NULL) STRICT;
CREATE TABLE alias (
    alias INTEGER PRIMARY KEY,
    device TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, unit TEXT NOT NULL,
    profile TEXT NOT NULL, period_ms INTEGER NOT NULL, last_place INTEGER NOT NULL DEFAULT 0,
    UNIQUE (device, name, kind, unit, profile)
) STRICT;
CREATE TABLE fact (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
{_PAST}
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
"""

_CHECKED: Final = ("state", "segment", "alias", "fact")
"""Checked on every opening. Bodies are not, unless a read found damage (`recover.mark_suspect`): each has
its digest, and start-up must not grow with the backlog."""

_FROM_1: Final = f"""
ALTER TABLE segment RENAME COLUMN number TO place;
ALTER TABLE body RENAME COLUMN number TO place;
ALTER TABLE alias RENAME COLUMN last_number TO last_place;
ALTER TABLE segment ADD COLUMN quarantined_ns INTEGER;
CREATE INDEX segment_quarantined ON segment (place) WHERE quarantined_ns IS NOT NULL;
ALTER TABLE state ADD COLUMN base INTEGER NOT NULL DEFAULT 0;
ALTER TABLE state ADD COLUMN segments_lost INTEGER NOT NULL DEFAULT 0;
ALTER TABLE state ADD COLUMN fill_level INTEGER NOT NULL DEFAULT 0;
ALTER TABLE state ADD COLUMN sent_place INTEGER NOT NULL DEFAULT 0;
UPDATE state SET sent_place = last_number;
{_PAST}
PRAGMA user_version = 2;
"""  # noqa: S608 (constants)


def upgrade(db: apsw.Connection) -> None:
    """From any older version to this one, in one transaction; another process may have been faster."""
    if int(db.pragma("user_version")) >= SCHEMA_VERSION:
        return
    db.execute("BEGIN IMMEDIATE")
    done = False
    try:
        if int(db.pragma("user_version")) == 1:
            db.execute(_FROM_1)
        db.execute("COMMIT")
        done = True
    finally:
        if not done:
            db.execute("ROLLBACK")


def checked(version: int) -> tuple[str, ...]:
    """The tables of a file of this version that are checked on every opening."""
    return _CHECKED if version == 1 else (*_CHECKED, "past")


def contradiction(db: apsw.Connection) -> str:
    """How the counter and the newest segment disagree; empty when they do not. Of one moment.

    The newest may have been receipted and pruned while an older one is still kept, and an epoch that has
    just begun has no digest to compare.
    """
    db.execute("BEGIN")
    try:
        counter = sql.first(db, "SELECT base + last_number, last_digest, last_number = 0 FROM state")
        newest = sql.first(db, "SELECT place, digest FROM segment ORDER BY place DESC LIMIT 1")
    finally:
        db.execute("ROLLBACK")
    if counter is None:
        return "it has no counter"
    place, digest, begun = counter
    if newest is None or newest[0] < place or (newest[0] == place and (begun or newest[1] == digest)):
        return ""
    return f"its counter says {(place, digest)}, its newest segment {newest}"
