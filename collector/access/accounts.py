"""Local accounts and tokens: rows of the journal, checked by argon2id and SHA-256.

Owns first start (one account `admin` with a one-time password), sign-in with a pause after repeated
failures, and tokens for programs. Must not know cookies or headers.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from collector.access.rights import Principal, Role
from collector.identity.errors import ContradictionError, UnacceptableError, UnknownIdentityError
from collector.identity.rows import JournalRow
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
PASSWORD_LENGTH_MIN: Final = 12
"""Long and free of other rules, as NIST SP 800-63B advises."""
MARK: Final = "tlm"
"""How a token begins, so that secret scanners know one when they see it."""
SYSTEM_ACTOR: Final = "system"
RESERVED: Final = (SYSTEM_ACTOR, "service")


class SignInPausedError(Exception):
    """Too many wrong passwords: says how long to wait."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"too many wrong passwords for this name: try again in {wait_s:.0f} s")
        self.wait_s = wait_s


@dataclass(slots=True)
class _Failures:
    count: int = 0
    until_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One person, by the rows about it: who made it, and who changed what last."""

    name: str
    role: Role
    active: bool
    made_by: str
    made_ns: int
    changed_by: str
    changed_ns: int
    reason: str
    stored: str


@dataclass(slots=True)
class _Known:
    users: dict[str, Account] = field(default_factory=dict)
    tokens: dict[str, tuple[str, Role]] = field(default_factory=dict)
    revoked: set[int] = field(default_factory=set)
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
        password = new_password()
        deliver(password)
        self.add_user(name, Role.ADMIN, password, actor=SYSTEM_ACTOR, reason="first start")
        return True

    def add_user(self, name: str, role: Role, password: str, *, actor: str, reason: str) -> None:
        """Journal an account, or a new password or role for it (which reinstates a revoked one)."""
        with self._turns:
            stored = self._hasher.hash(password)
        self._journal_user(name, role, stored, active=True, actor=actor, reason=reason)

    def post_user(
        self, name: str, role: Role, password: str | None, *, actor: str, reason: str
    ) -> tuple[Account, str | None]:
        """A new account, or another role or password for one that is there: then with a reason.

        Without a password a new account gets a one-time one, which is the second answer. ContradictionError
        for a change without reason, and where it would leave no administrator.
        """
        check_password(password)
        with self._journal.exclusive():
            self._free(name, taken=[each for each, _ in self._refresh().tokens.values()])
            known = self._refresh().users.get(name)
            if known is not None and not reason:
                raise ContradictionError(
                    what=f"there is an account {name}",
                    why="its role, password or state would change",
                    next_step="Say why in `reason`, or take another name.",
                )
            if known is not None and role is not Role.ADMIN:
                self._keep_an_admin(known)
            said = password or (None if known is not None and known.active else new_password())
            if said is None:
                assert known is not None, "a new account has a password"
                self._journal_user(name, role, known.stored, active=True, actor=actor, reason=reason)
            else:
                self.add_user(name, role, said, actor=actor, reason=reason)
            return self._refresh().users[name], None if password or said is None else said

    def revoke_user(self, name: str, *, actor: str, reason: str) -> Account:
        """The account gets in no more; its rows stay. Revoking it again changes nothing."""
        with self._journal.exclusive():
            known = self.account(name)
            if known.active:
                self._keep_an_admin(known)
                self._journal_user(name, known.role, "", active=False, actor=actor, reason=reason)
            return self._refresh().users[name]

    def change_password(self, name: str, current: str, new: str, *, now_s: float) -> bool:
        """A person's own change; False when the current password is wrong (counted as a failed sign-in)."""
        check_password(new)
        person = self.sign_in(name, current, now_s=now_s)
        if person is None:
            return False
        self.add_user(name, person.role, new, actor=name, reason="own password changed")
        return True

    def account(self, name: str) -> Account:
        """By name; UnknownIdentityError when there is none."""
        known = self._refresh().users.get(name)
        if known is None:
            raise UnknownIdentityError(
                what=f"there is no account {name!r}",
                why="nobody made one of that name",
                next_step="GET /users lists them.",
            )
        return known

    def accounts(self) -> list[Account]:
        """All of them by name, revoked ones too."""
        return [one for _, one in sorted(self._refresh().users.items())]

    @staticmethod
    def _free(name: str, *, taken: Iterable[str]) -> None:
        """An actor's name in the journal stands for one person or one program."""
        if name in {*RESERVED, *taken}:
            raise ContradictionError(
                what=f"{name} is the name of a program",
                why="the journal names actors, and a person is none of those",
                next_step="Take another name.",
            )

    def _keep_an_admin(self, leaving: Account) -> None:
        admins = [one for one in self._known.users.values() if one.active and one.role is Role.ADMIN]
        if [one.name for one in admins] == [leaving.name]:
            raise ContradictionError(
                what=f"{leaving.name} is the last administrator",
                why="nobody could make or change accounts after that",
                next_step="Make another administrator first.",
            )

    def _journal_user(
        self, name: str, role: Role, stored: str, *, active: bool, actor: str, reason: str
    ) -> None:
        body = {"name": name, "role": str(role), "password": stored, "active": active}
        self._journal.append(kind="user", subject=f"user:{name}", body=body, actor=actor, reason=reason)

    def sign_in(self, name: str, password: str, *, now_s: float) -> Principal | None:
        """The person, or None for a wrong name or password (both take equally long; blocking).

        Raises SignInPausedError after FAILURES_MAX failures in a row.
        """
        failures = self._failures.get(name, _Failures())
        if failures.until_s > now_s:
            raise SignInPausedError(failures.until_s - now_s)
        known = self._refresh().users.get(name)
        stored = known.stored if known is not None and known.active else ""
        with self._turns:
            right = self._verify(stored or self._no_one, password) and bool(stored)
        if right and known is not None:
            self._failures.pop(name, None)
            return Principal(name, known.role, is_person=True)
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
        self._free(name, taken=self._refresh().users)
        token = f"{MARK}_{secrets.token_urlsafe(32)}"
        body = {"name": name, "role": str(role), "sha256": _sha(token)}
        self._journal.append(kind="token", subject=f"token:{name}", body=body, actor=actor, reason=reason)
        return token

    def revoke_token(self, row_id: int, *, actor: str, reason: str) -> None:
        """The token of that journal row opens nothing any more. UnknownIdentityError when there is none."""
        with self._journal.exclusive():
            rows = {row.id: row for row in self._journal.rows(kinds=("token",)) if "sha256" in row.body}
            if row_id not in rows:
                raise UnknownIdentityError(
                    what=f"there is no token:j{row_id}",
                    why="no token was made in that row",
                    next_step="GET /tokens lists them.",
                )
            if row_id not in self._refresh().revoked:
                made = rows[row_id].body
                body = {"name": made["name"], "revokes": row_id, "revoked": made["sha256"]}
                subject = rows[row_id].subject
                self._journal.append(kind="token", subject=subject, body=body, actor=actor, reason=reason)

    def revoked_tokens(self) -> frozenset[int]:
        """Journal rows of tokens that open nothing any more."""
        return frozenset(self._refresh().revoked)

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
                self._known.users[str(body["name"])] = self._account(row)
            elif "revokes" in body:
                self._known.revoked.add(int(body["revokes"]))
                self._known.tokens.pop(str(body["revoked"]), None)
            else:
                self._known.tokens[str(body["sha256"])] = (str(body["name"]), Role(str(body["role"])))
            self._known.upto = row.id
        return self._known

    def _account(self, row: JournalRow) -> Account:
        name = str(row.body["name"])
        before = self._known.users.get(name)
        return Account(
            name=name,
            role=Role(str(row.body["role"])),
            active=bool(row.body.get("active", True)),
            made_by=row.actor if before is None else before.made_by,
            made_ns=row.known_at_ns if before is None else before.made_ns,
            changed_by=row.actor,
            changed_ns=row.known_at_ns,
            reason=row.reason,
            stored=str(row.body["password"]),
        )


def new_password() -> str:
    """A one-time password that can be read aloud."""
    return "-".join(secrets.token_hex(3) for _ in range(4))


def check_password(password: str | None) -> None:
    """UnacceptableError for one that is too short to be anybody's secret."""
    if password is not None and len(password) < PASSWORD_LENGTH_MIN:
        raise UnacceptableError(
            what="this password is too short",
            why=f"it has fewer than {PASSWORD_LENGTH_MIN} characters",
            next_step="Take a sentence; no other rule applies.",
        )


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
