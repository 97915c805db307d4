"""Rights and roles: the one table that says who may do what.

Pure. A route names the right it needs; a principal's role grants rights. Signing and confirming are
for persons only: no token ever carries them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Right(StrEnum):
    """What can be allowed."""

    READ = "read"
    ENTER = "enter"
    CONFIRM = "confirm"
    SIGN = "sign"
    ADMINISTER = "administer"


class Role(StrEnum):
    """Roles of principals. SERVICE and OPERATOR tokens stand for programs."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    SUPERVISOR = "supervisor"
    QA = "qa"
    ADMIN = "admin"
    SERVICE = "service"


GRANTS: Final[dict[Role, frozenset[Right]]] = {
    Role.VIEWER: frozenset({Right.READ}),
    Role.OPERATOR: frozenset({Right.READ, Right.ENTER}),
    Role.SUPERVISOR: frozenset({Right.READ, Right.ENTER, Right.CONFIRM}),
    Role.QA: frozenset({Right.READ, Right.ENTER, Right.CONFIRM, Right.SIGN}),
    Role.ADMIN: frozenset({Right.READ, Right.ENTER, Right.CONFIRM, Right.ADMINISTER}),
    Role.SERVICE: frozenset({Right.READ, Right.ENTER, Right.ADMINISTER}),
}

FOR_PERSONS_ONLY: Final = frozenset({Right.CONFIRM, Right.SIGN})


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever is calling: a person with a session, or a program with a token."""

    name: str
    role: Role
    is_person: bool

    def may(self, right: Right) -> bool:
        """Whether this principal holds the right."""
        if right in FOR_PERSONS_ONLY and not self.is_person:
            return False
        return right in GRANTS[self.role]
