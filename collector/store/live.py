"""What is true only while the collector runs: a node's last status, counters of this process.

Owns facts that are deliberately not in the ledger (status messages are not data). Lost at a restart
without harm. Must not know who shows them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum


class Tally(StrEnum):
    """Counters of this process, as shown on /metrics."""

    HEARD = "messages_heard"
    DROPPED = "messages_dropped"
    IGNORED = "messages_ignored"
    COMMITTED = "entries_committed"
    COMMITS = "commits"
    COMMIT_FAILED = "commits_failed"
    DUPLICATE = "entries_duplicate"
    FORK = "entries_fork"
    UNDECODABLE = "entries_undecodable"
    JUNK_DROPPED = "entries_junk_dropped"
    RECEIPTS = "receipts_sent"
    REBIRTHS = "rebirths_requested"
    CONNECTS = "broker_connects"
    PROJECTED = "entries_projected"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """A node's own statement about its outbox, and when it was last heard (wall time, ns)."""

    depth: int | None
    oldest_ms: int | None
    bytes: int | None
    heard_ns: int


@dataclass(slots=True)
class LiveBoard:
    """One per process; single items are replaced whole, so threads may read it at any time."""

    status: dict[tuple[str, str], NodeStatus] = field(default_factory=dict)
    last_heard_ns: dict[tuple[str, str], int] = field(default_factory=dict)
    tallies: Counter[Tally] = field(default_factory=Counter)
    broker_connected: bool = False
    broker_fault: str = ""
    ledger_fault: str = ""
    """Why the ledger cannot commit, empty while it can."""
    projection_fault: str = ""
