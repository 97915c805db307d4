"""When a node is asked for its births again.

Pure. Owns one pending request a node and a token bucket over the fleet: a whole birth costs a gateway
and the broker much, and data is committed without it. Must not know how a request is sent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from collector.store.projection import NodeKey

PENDING_S: Final = 30.0
"""A request unanswered this long may be repeated."""
ASKED_MAX: Final = 10
"""Requests to a node that stays silent; its next unknown name begins anew."""
RATE_PER_S: Final = 5.0
BURST_MAX: Final = 20.0
"""Requests at once after a quiet time."""
WANTED_MAX: Final = 10_000
"""Nodes that wait to be asked: one more is wanted again by its next message."""


@dataclass(slots=True)
class RebirthGate:
    """Takes wishes, gives what may be asked now."""

    tokens: float = BURST_MAX
    filled_at: float = 0.0
    wanted: dict[NodeKey, None] = field(default_factory=dict)
    pending: dict[NodeKey, float] = field(default_factory=dict)
    asked: dict[NodeKey, int] = field(default_factory=dict)

    def want(self, node: NodeKey, *, now: float) -> None:
        """A name of this node is unknown."""
        if now >= self.pending.get(node, 0.0) and len(self.wanted) < WANTED_MAX:
            self.wanted[node] = None

    def born(self, node: NodeKey) -> None:
        """Its births came."""
        self.wanted.pop(node, None)
        self.pending.pop(node, None)
        self.asked.pop(node, None)

    def due(self, now: float) -> list[NodeKey]:
        """Nodes to ask now; each counts as asked."""
        self._again(now)
        self.tokens = min(BURST_MAX, self.tokens + (now - self.filled_at) * RATE_PER_S)
        self.filled_at = now
        count = min(int(self.tokens), len(self.wanted))
        out = list(self.wanted)[:count]
        for node in out:
            del self.wanted[node]
            self.pending[node] = now + PENDING_S
            self.asked[node] = self.asked.get(node, 0) + 1
        self.tokens -= count
        return out

    def next_due(self, now: float) -> float | None:
        """When `due` has something next."""
        if not self.wanted:
            return min(self.pending.values(), default=None)
        return now if self.tokens >= 1 else now + (1 - self.tokens) / RATE_PER_S

    def _again(self, now: float) -> None:
        """A request or its answer was lost: what waits for a name may be the last that the node sends."""
        for node in [one for one, until in self.pending.items() if until <= now]:
            del self.pending[node]
            if self.asked[node] < ASKED_MAX:
                self.wanted[node] = None
            else:
                del self.asked[node]
