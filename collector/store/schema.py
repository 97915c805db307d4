"""The tables of projection.db.

Owns their names and columns; a new version makes every file anew from the ledger. `id` is a ledger id,
`sid` a stream's number, `since` the ledger id since which something is known. Must not know who writes.
"""

from __future__ import annotations

from typing import Final

SCHEMA_VERSION: Final = "9"

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS stream (
  sid INTEGER PRIMARY KEY, grp TEXT NOT NULL, node TEXT NOT NULL, epoch TEXT NOT NULL, own INTEGER NOT NULL,
  first_id INTEGER NOT NULL, last_id INTEGER NOT NULL DEFAULT 0, ranges TEXT NOT NULL DEFAULT '',
  refused TEXT NOT NULL DEFAULT '', segments INTEGER NOT NULL DEFAULT 0, readings INTEGER NOT NULL DEFAULT 0,
  events INTEGER NOT NULL DEFAULT 0, forks INTEGER NOT NULL DEFAULT 0, mismatches INTEGER NOT NULL DEFAULT 0,
  repeated INTEGER NOT NULL DEFAULT 0, clock TEXT, frontier_ms INTEGER,
  received_at INTEGER NOT NULL DEFAULT 0, lost TEXT NOT NULL DEFAULT '',
  lost_readings INTEGER NOT NULL DEFAULT 0,
  clock_steps INTEGER NOT NULL DEFAULT 0, was_left INTEGER NOT NULL DEFAULT 0, UNIQUE (grp, node, epoch));
CREATE TABLE IF NOT EXISTS metric (
  mid INTEGER PRIMARY KEY, sid INTEGER NOT NULL, alias INTEGER, device TEXT NOT NULL, name TEXT NOT NULL,
  kind TEXT NOT NULL, unit TEXT, period_ms INTEGER, profile TEXT, born INTEGER NOT NULL,
  wire TEXT);
CREATE UNIQUE INDEX IF NOT EXISTS metric_alias ON metric (sid, alias) WHERE alias IS NOT NULL;
CREATE UNIQUE INDEX IF NOT EXISTS metric_name ON metric (sid, device, COALESCE(wire, name))
  WHERE alias IS NULL;
CREATE INDEX IF NOT EXISTS metric_stream ON metric (sid);
CREATE INDEX IF NOT EXISTS metric_point ON metric (device, name);
CREATE TABLE IF NOT EXISTS point (
  grp TEXT, node TEXT, device TEXT, name TEXT, kind TEXT NOT NULL, unit TEXT, period_ms INTEGER, profile TEXT,
  retired INTEGER NOT NULL, first_id INTEGER NOT NULL, PRIMARY KEY (grp, node, device, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS declared (
  grp TEXT, node TEXT, device TEXT, name TEXT, id INTEGER, kind TEXT NOT NULL, unit TEXT, period_ms INTEGER,
  PRIMARY KEY (grp, node, device, name, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS felt (
  grp TEXT, node TEXT, device TEXT, name TEXT, id INTEGER NOT NULL,
  PRIMARY KEY (grp, node, device, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS latest (
  grp TEXT, node TEXT, device TEXT, name TEXT, time_ms INTEGER NOT NULL, form INTEGER NOT NULL,
  bits INTEGER NOT NULL, text TEXT, quality INTEGER NOT NULL, reason TEXT NOT NULL, epoch TEXT NOT NULL,
  number INTEGER NOT NULL, idx INTEGER NOT NULL, id INTEGER NOT NULL,
  PRIMARY KEY (grp, node, device, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS node (
  grp TEXT, node TEXT, own INTEGER NOT NULL, sid INTEGER, bd_seq INTEGER, online INTEGER NOT NULL,
  agent TEXT, config_hash TEXT, limits_hash TEXT, depth INTEGER, oldest_ms INTEGER, bytes INTEGER,
  born_id INTEGER, foreign_n INTEGER NOT NULL DEFAULT 0, received_at INTEGER NOT NULL,
  live_sid INTEGER, twins INTEGER NOT NULL DEFAULT 0, flush_ms INTEGER,
  PRIMARY KEY (grp, node)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS device (
  grp TEXT, node TEXT, device TEXT, t_max_ms INTEGER NOT NULL, span_ms INTEGER NOT NULL,
  online INTEGER, PRIMARY KEY (grp, node, device)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS silence (
  grp TEXT, node TEXT, device TEXT, since_ns INTEGER NOT NULL, PRIMARY KEY (grp, node, device)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS waiting (id INTEGER PRIMARY KEY, sid INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS waiting_stream ON waiting (sid);
CREATE TABLE IF NOT EXISTS waited (id INTEGER PRIMARY KEY, sid INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS waited_stream ON waited (sid);
CREATE TABLE IF NOT EXISTS rejected (
  id INTEGER PRIMARY KEY, sid INTEGER NOT NULL, number INTEGER NOT NULL, since INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS unchecked (
  sid INTEGER, number INTEGER, id INTEGER, PRIMARY KEY (sid, number, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS event (
  id INTEGER, idx INTEGER, known_at INTEGER NOT NULL, sid INTEGER NOT NULL, number INTEGER NOT NULL,
  time_ms INTEGER NOT NULL, text TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
  PRIMARY KEY (id, idx)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS event_kind ON event (kind, name);
CREATE TABLE IF NOT EXISTS absence (
  grp TEXT, node TEXT, point TEXT, name TEXT, id INTEGER, idx INTEGER, kind TEXT NOT NULL,
  from_ns INTEGER NOT NULL, to_ns INTEGER, reason TEXT NOT NULL,
  PRIMARY KEY (grp, node, point, name, id, idx)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS refusal (
  sid INTEGER, number INTEGER, id INTEGER, since INTEGER NOT NULL, cause TEXT NOT NULL, healed INTEGER,
  PRIMARY KEY (sid, number, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS twin (id INTEGER PRIMARY KEY, sid INTEGER NOT NULL, other INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS moved (
  id INTEGER, idx INTEGER, part INTEGER, old_sid INTEGER NOT NULL, old_first INTEGER NOT NULL,
  new_sid INTEGER NOT NULL, new_first INTEGER NOT NULL, n INTEGER NOT NULL,
  PRIMARY KEY (id, idx, part)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS dropped (
  id INTEGER PRIMARY KEY, sid INTEGER NOT NULL, other INTEGER NOT NULL, since INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS session (id INTEGER PRIMARY KEY, sid INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS frontier (
  sid INTEGER, id INTEGER, frontier_ms INTEGER NOT NULL, PRIMARY KEY (sid, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS clock (
  sid INTEGER, hour INTEGER, id INTEGER, octave INTEGER NOT NULL, PRIMARY KEY (sid, hour, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS fork (id INTEGER PRIMARY KEY, sid INTEGER NOT NULL, number INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS conflict (
  grp TEXT, node TEXT, device TEXT, name TEXT, time_ms INTEGER, id INTEGER NOT NULL, other INTEGER NOT NULL,
  PRIMARY KEY (grp, node, device, name, time_ms, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS uncompared (
  id INTEGER PRIMARY KEY, grp TEXT NOT NULL, node TEXT NOT NULL, device TEXT NOT NULL, n INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS skipped (id INTEGER PRIMARY KEY, problem TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS rebound (
  id INTEGER, alias TEXT, sid INTEGER NOT NULL, bound TEXT NOT NULL, claimed TEXT NOT NULL,
  PRIMARY KEY (id, alias)) WITHOUT ROWID;
"""
GONE: Final = (
    "SELECT id FROM rejected WHERE since <= ? UNION SELECT id FROM dropped WHERE since <= ? AND other = since"
)
"""Entries whose content counts no more: found wrong, or of a file that was withdrawn by the entry `other`."""
TABLES: Final = (
    *("meta", "stream", "metric", "point", "latest", "node", "device", "waiting", "rejected"),
    *("waited", "unchecked"),
    *("event", "session", "frontier", "clock", "fork", "conflict", "rebound", "skipped", "uncompared"),
    *("absence", "refusal", "twin", "moved", "dropped", "declared", "felt"),
)
"""Every table, as compared by a rebuild."""
