"""What is true only while the collector runs: a node's last status, counters of this process.

Owns facts that are deliberately not in the ledger (status messages are not data). Lost at a restart
without harm. Must not know who shows them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

NODES_MAX: Final = 10_000
"""Nodes remembered here: anybody who may publish can make up names."""


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
    UNFORESEEN = "messages_unforeseen"
    RECEIPTS = "receipts_sent"
    REBIRTHS = "rebirths_requested"
    CONNECTS = "broker_connects"
    PROJECTED = "entries_projected"
    SEALED = "entries_sealed"
    READINGS_SEALED = "readings_sealed"
    READINGS_REMOVED = "readings_removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """A node's own statement about its outbox, and when it was last heard (wall time, ns)."""

    depth: int | None
    oldest_ms: int | None
    bytes: int | None
    heard_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkStatus:
    """How a sink follows. `cursor` is the ledger id of which it has everything durably, `sent` what it
    acknowledged; behind are committed entries beyond `cursor`, the oldest `behind_s` old.
    """

    name: str
    kind: str
    cursor: int = 0
    sent: int = 0
    behind_entries: int = 0
    behind_s: float = 0.0
    written: int = 0
    refused: int = 0
    rewinds: int = 0
    rewritten: int = 0
    stale: int = 0
    fault: str = ""
    refusals: tuple[dict[str, object], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBack:
    """An archive file (entries `first` to `last`) that stays whole for now, and why."""

    name: str
    first: int
    last: int
    why: str


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
    archive_fault: str = ""
    """Why payloads cannot be archived; what is archived already is not concerned."""
    retention_held: tuple[HeldBack, ...] = ()
    """Archive files that are old enough to lose their readings, and why they do not."""
    alarm_fault: str = ""
    """Why alarms are not stepped, empty while they are."""
    sinks: dict[str, SinkStatus] = field(default_factory=dict)
    """By name, in the order of the configuration."""
    findings_fault: str = ""
    """Why findings are not followed, empty while they are; answers are then worked out from readings."""
    findings_upto: int = 0
    seal_fault: str = ""
    """Why nothing is sealed, empty while it is; readings are then answered from the ledger alone."""
    sealed_upto: int = 0

    def heard(self, node: tuple[str, str], now_ns: int) -> None:
        """A message of this node came. Of too many names those longest silent are forgotten."""
        self.last_heard_ns.pop(node, None)
        self.last_heard_ns[node] = now_ns
        if len(self.last_heard_ns) > NODES_MAX:
            silent = next(iter(self.last_heard_ns))
            del self.last_heard_ns[silent]
            self.status.pop(silent, None)

    def said(self, node: tuple[str, str], status: NodeStatus) -> None:
        """A node's statement about its outbox; it was heard just before, so the same limit holds."""
        if node in self.last_heard_ns:
            self.status[node] = status
