"""Local accounts and tokens: rows of the journal, checked by argon2id and SHA-256.

Owns first start (one account `admin` with a one-time password), sign-in with a pause after repeated
failures, and tokens for programs. Must not know cookies or headers.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from collector.access.rights import Principal, Role
from collector.registry.journal import Journal

FAILURES_MAX: Final = 5
"""Wrong passwords in a row before sign-in pauses for that name."""
PAUSE_S: Final = 60.0
"""Long enough to stop guessing, short enough that a tired operator at night gets in."""
NAMES_WATCHED_MAX: Final = 1_000
"""Names with failures remembered: bounds memory under a flood of made-up names."""
HASHES_AT_ONCE: Final = 2
"""argon2id takes 64 MiB and a third of a second each."""

TOKEN_SCOPES: Final = (Role.VIEWER, Role.OPERATOR)
MARK: Final = "tlm"
"""How a token begins, so that secret scanners know one when they see it."""
SYSTEM_ACTOR: Final = "system"


class SignInPausedError(Exception):
    """Too many wrong passwords: says how long to wait."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"too many wrong passwords for this name: try again in {wait_s:.0f} s")
        self.wait_s = wait_s


@dataclass(slots=True)
class _Failures:
    count: int = 0
    until_s: float = 0.0


@dataclass(slots=True)
class _Known:
    users: dict[str, tuple[Role, str]] = field(default_factory=dict)
    tokens: dict[str, tuple[str, Role]] = field(default_factory=dict)
    upto: int = 0


class Accounts:
    """People and programs that may call, as the journal knows them."""

    def __init__(self, journal: Journal, *, service_token: str | None) -> None:
        self._journal = journal
        self._service = None if service_token is None else _sha(service_token)
        self._hasher = PasswordHasher()
        self._known = _Known()
        self._failures: dict[str, _Failures] = {}
        self._turns = threading.BoundedSemaphore(HASHES_AT_ONCE)
        self._no_one = self._hasher.hash(secrets.token_urlsafe(16))

    def ensure_first(self, *, deliver: Callable[[str], None], name: str = "admin") -> bool:
        """On a collector without accounts, make one; whether it did.

        `deliver` gets the one-time password before the account is journalled: a crash between the two
        leaves no account that nobody can enter, and the next start makes another.
        """
        if self._refresh().users:
            return False
        password = "-".join(secrets.token_hex(3) for _ in range(4))
        deliver(password)
        self.add_user(name, Role.ADMIN, password, actor=SYSTEM_ACTOR, reason="first start")
        return True

    def add_user(self, name: str, role: Role, password: str, *, actor: str, reason: str) -> None:
        """Journal an account, or a new password or role for it."""
        body = {"name": name, "role": str(role), "password": self._hasher.hash(password)}
        self._journal.append(kind="user", subject=f"user:{name}", body=body, actor=actor, reason=reason)

    def sign_in(self, name: str, password: str, *, now_s: float) -> Principal | None:
        """The person, or None for a wrong name or password (both take equally long; blocking).

        Raises SignInPausedError after FAILURES_MAX failures in a row.
        """
        failures = self._failures.get(name, _Failures())
        if failures.until_s > now_s:
            raise SignInPausedError(failures.until_s - now_s)
        role, stored = self._refresh().users.get(name, (Role.VIEWER, ""))
        with self._turns:
            right = self._verify(stored or self._no_one, password) and bool(stored)
        if right:
            self._failures.pop(name, None)
            return Principal(name, role, is_person=True)
        failures.count += 1
        if failures.count >= FAILURES_MAX:
            failures.count, failures.until_s = 0, now_s + PAUSE_S
        if len(self._failures) < NAMES_WATCHED_MAX or name in self._failures:
            self._failures[name] = failures
        return None

    def mint_token(self, name: str, role: Role, *, actor: str, reason: str) -> str:
        """Journal a token for a program; the secret is returned once and only its hash is kept."""
        if role not in TOKEN_SCOPES:
            msg = f"a token cannot have scope {role}: use one of {', '.join(TOKEN_SCOPES)}"
            raise ValueError(msg)
        token = f"{MARK}_{secrets.token_urlsafe(32)}"
        body = {"name": name, "role": str(role), "sha256": _sha(token)}
        self._journal.append(kind="token", subject=f"token:{name}", body=body, actor=actor, reason=reason)
        return token

    def by_token(self, token: str) -> Principal | None:
        """The program behind a bearer token."""
        digest = _sha(token)
        if self._service is not None and hmac.compare_digest(digest, self._service):
            return Principal("service", Role.SERVICE, is_person=False)
        found = self._refresh().tokens.get(digest)
        return None if found is None else Principal(found[0], found[1], is_person=False)

    def _verify(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    def _refresh(self) -> _Known:
        for row in self._journal.rows(after=self._known.upto, kinds=("user", "token")):
            body = row.body
            if row.kind == "user":
                self._known.users[str(body["name"])] = (Role(str(body["role"])), str(body["password"]))
            else:
                self._known.tokens[str(body["sha256"])] = (str(body["name"]), Role(str(body["role"])))
            self._known.upto = row.id
        return self._known


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
