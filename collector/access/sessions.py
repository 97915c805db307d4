"""Sessions of persons: a random key in a cookie, kept in memory, ended by idleness or age.

A restart of the collector ends all sessions: people sign in again, nothing else is lost. Takes `now`
from its caller.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Final

from collector.access.rights import Principal

IDLE_S_MAX: Final = 30 * 60.0
"""A workstation left alone is no longer its user's."""
AGE_S_MAX: Final = 12 * 3600.0
"""One shift."""
SESSIONS_MAX: Final = 1_000
"""Far above a site's staff; the least recently used goes first."""


@dataclass(slots=True)
class _Session:
    principal: Principal
    started_s: float
    used_s: float


class Sessions:
    """Live sessions by the hash of their key, least recently used first."""

    def __init__(self) -> None:
        self._by_hash: dict[str, _Session] = {}

    def open(self, principal: Principal, *, now_s: float) -> str:
        """Start a session; returns the key for the cookie."""
        while len(self._by_hash) >= SESSIONS_MAX:
            del self._by_hash[next(iter(self._by_hash))]
        key = secrets.token_urlsafe(32)
        self._by_hash[_hash(key)] = _Session(principal, now_s, now_s)
        return key

    def find(self, key: str, *, now_s: float) -> Principal | None:
        """The person behind the key, or None when it is unknown or ended."""
        digest = _hash(key)
        session = self._by_hash.pop(digest, None)
        if session is None:
            return None
        if now_s - session.used_s > IDLE_S_MAX or now_s - session.started_s > AGE_S_MAX:
            return None
        session.used_s = now_s
        self._by_hash[digest] = session
        return session.principal

    def close_all(self, name: str) -> None:
        """End every session of a person whose rights or password changed."""
        for digest in [key for key, one in self._by_hash.items() if one.principal.name == name]:
            del self._by_hash[digest]

    def close(self, key: str) -> None:
        """End a session; ending an unknown one is fine."""
        self._by_hash.pop(_hash(key), None)


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
