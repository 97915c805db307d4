"""How much of what cannot be read is kept: a node that floods the broker must not fill the disk.

Owns the limits a day, and the count of what went over them. Rows are the ledger's own; its writer calls
inside its transaction. Must not know why a message could not be read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import apsw

from collector.store.database import query, query_one
from collector.store.ledger.entries import PAYLOAD_BYTES

MESSAGES_MAX: Final = 1_000
BYTES_MAX: Final = 8 * 1024 * 1024
"""Different unreadable messages kept of one node and day: enough to find the fault, too little for a disk."""
OF_ALL: Final = 8
"""All nodes together may fill so many times as much a day: names cost a flooder nothing."""
NODES_MAX: Final = 10_000
"""Nodes counted by name a day; what more of them send is counted under no name."""
DAY_NS: Final = 86_400_000_000_000

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS junk (
  day INTEGER, grp TEXT, node TEXT, n INTEGER NOT NULL, bytes INTEGER NOT NULL, dropped INTEGER NOT NULL,
  PRIMARY KEY (day, grp, node)) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Message:
    """An unreadable message; `digest` is its payload's SHA-256."""

    group: str
    node: str
    device: str
    digest: str
    size: int
    received_ns: int


@dataclass(frozen=True, slots=True)
class Junk:
    """Unreadable messages of a node: `kept`, their bytes, the first one's id, `dropped` over the limit."""

    group: str
    node: str
    kept: int
    bytes: int
    first_id: int
    dropped: int
    since_ns: int = 0
    """The day on which it began, where nothing is kept."""


def admit(connection: apsw.Connection, message: Message) -> Literal["new", "duplicate", "dropped"]:
    """Whether it is new, here already, or one too many of this day; the latter is counted."""
    again = query_one(
        connection,
        "SELECT 1 FROM entry WHERE kind = 'undecodable'"
        " AND grp = ? AND node = ? AND device = ? AND digest = ?",
        (message.group, message.node, message.device, message.digest),
    )
    if again is not None:
        return "duplicate"
    day = message.received_ns // DAY_NS
    own_n, own_bytes, all_n, all_bytes, nodes = query(
        connection,
        "SELECT COALESCE(sum(n) FILTER (WHERE grp = ?2 AND node = ?3), 0),"
        " COALESCE(sum(bytes) FILTER (WHERE grp = ?2 AND node = ?3), 0),"
        " COALESCE(sum(n), 0), COALESCE(sum(bytes), 0), count(*) FROM junk WHERE day = ?1",
        (day, message.group, message.node),
    )[0]
    full = (
        own_n >= MESSAGES_MAX
        or own_bytes + message.size > BYTES_MAX
        or all_n >= MESSAGES_MAX * OF_ALL
        or all_bytes + message.size > BYTES_MAX * OF_ALL
    )
    name = ("", "") if full and nodes >= NODES_MAX else (message.group, message.node)
    connection.execute(
        "INSERT INTO junk VALUES (?,?,?,?,?,?) ON CONFLICT DO UPDATE SET n = n + excluded.n,"
        " bytes = bytes + excluded.bytes, dropped = dropped + excluded.dropped",
        (day, *name, *((0, 0, 1) if full else (1, message.size, 0))),
    )
    return "dropped" if full else "new"


def of_nodes(connection: apsw.Connection, *, upto: int) -> list[Junk]:
    """By node, known at ledger id `upto`; what was dropped, so far."""
    kept = query(
        connection,
        f"SELECT grp, node, count(*), sum({PAYLOAD_BYTES}), min(id) FROM entry"  # noqa: S608 (constant text)
        " WHERE kind = 'undecodable' AND id <= ? GROUP BY grp, node",
        (upto,),
    )
    dropped = {
        (group, node): (n, day * DAY_NS)
        for group, node, n, day in query(
            connection,
            "SELECT grp, node, sum(dropped), min(day) FROM junk GROUP BY grp, node HAVING sum(dropped)",
        )
    }
    out = []
    for group, node, count, size, first_id in kept:
        n, since_ns = dropped.pop((group, node), (0, 0))
        out.append(Junk(group, node, count, size, first_id, n, since_ns))
    return out + [Junk(group, node, 0, 0, 0, n, since) for (group, node), (n, since) in dropped.items()]
