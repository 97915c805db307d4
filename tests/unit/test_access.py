"""Accounts, sessions and rights: who gets in, for how long, and what for."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from collector.access.accounts import FAILURES_MAX, PAUSE_S, Accounts, SignInPausedError
from collector.access.rights import GRANTS, Principal, Right, Role
from collector.access.sessions import AGE_S_MAX, IDLE_S_MAX, SESSIONS_MAX, Sessions
from collector.registry.journal import Journal

ANNA = Principal("anna", Role.SUPERVISOR, is_person=True)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    tick = count(1)
    made = Journal.open(url="sqlite:", data_dir=tmp_path, now_ns=lambda: next(tick))
    yield made
    made.close()


@pytest.fixture
def accounts(journal: Journal) -> Accounts:
    return Accounts(journal, service_token="from outside")


def test_the_first_start_makes_one_account_and_says_its_password_once(
    journal: Journal, accounts: Accounts
) -> None:
    said: list[str] = []
    assert accounts.ensure_first(deliver=said.append)
    assert not accounts.ensure_first(deliver=said.append)
    assert not Accounts(journal, service_token=None).ensure_first(deliver=said.append)
    assert accounts.sign_in("admin", said[0], now_s=0) == Principal("admin", Role.ADMIN, is_person=True)
    assert len(said) == 1
    assert said[0] not in str(journal.rows())


def test_a_password_that_cannot_be_delivered_makes_no_account(journal: Journal, accounts: Accounts) -> None:
    def full_disk(_password: str) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        accounts.ensure_first(deliver=full_disk)
    assert journal.rows() == []


def test_wrong_passwords_in_a_row_pause_that_name_only(accounts: Accounts) -> None:
    accounts.add_user("anna", Role.QA, "right", actor="system", reason="")
    accounts.add_user("ben", Role.QA, "right", actor="system", reason="")
    for _ in range(FAILURES_MAX):
        assert accounts.sign_in("anna", "wrong", now_s=0) is None
    with pytest.raises(SignInPausedError, match="try again in 60 s"):
        accounts.sign_in("anna", "right", now_s=0.1)
    assert accounts.sign_in("ben", "right", now_s=0.1) is not None
    assert accounts.sign_in("anna", "right", now_s=PAUSE_S + 0.1) is not None
    assert accounts.sign_in("nobody", "right", now_s=0) is None


def test_a_new_password_replaces_the_old_one(accounts: Accounts) -> None:
    accounts.add_user("anna", Role.QA, "old", actor="system", reason="")
    accounts.add_user("anna", Role.VIEWER, "new", actor="anna", reason="moved on")
    assert accounts.sign_in("anna", "old", now_s=0) is None
    assert accounts.sign_in("anna", "new", now_s=0) == Principal("anna", Role.VIEWER, is_person=True)


def test_tokens_are_programs_and_outlive_a_restart(journal: Journal, accounts: Accounts) -> None:
    token = accounts.mint_token("robot", Role.OPERATOR, actor="admin", reason="")
    again = Accounts(journal, service_token=None)
    assert again.by_token(token) == Principal("robot", Role.OPERATOR, is_person=False)
    assert again.by_token(token + "x") is None
    assert again.by_token("from outside") is None
    assert accounts.by_token("from outside") == Principal("service", Role.SERVICE, is_person=False)
    assert token not in str(journal.rows())
    with pytest.raises(ValueError, match="cannot have scope admin"):
        accounts.mint_token("robot", Role.ADMIN, actor="admin", reason="")


@pytest.mark.parametrize("role", Role)
def test_no_program_confirms_or_signs_whatever_its_role(role: Role) -> None:
    program = Principal("robot", role, is_person=False)
    assert not program.may(Right.CONFIRM)
    assert not program.may(Right.SIGN)
    assert program.may(Right.READ)
    assert {right for right in Right if Principal("p", role, is_person=True).may(right)} == GRANTS[role]


def test_sessions_end_by_idleness_by_age_and_by_signing_out() -> None:
    sessions = Sessions()
    key = sessions.open(ANNA, now_s=0)
    assert sessions.find(key, now_s=IDLE_S_MAX) == ANNA
    assert sessions.find(key, now_s=2 * IDLE_S_MAX + 1) is None
    key = sessions.open(ANNA, now_s=0)
    for now_s in range(0, int(AGE_S_MAX) + 1, 600):
        assert sessions.find(key, now_s=now_s) == ANNA
    assert sessions.find(key, now_s=AGE_S_MAX + 1) is None
    key = sessions.open(ANNA, now_s=0)
    sessions.close(key)
    sessions.close(key)
    assert sessions.find(key, now_s=0) is None
    assert sessions.find("", now_s=0) is None


def test_the_least_recently_used_session_gives_way() -> None:
    sessions = Sessions()
    first, second = sessions.open(ANNA, now_s=0), sessions.open(ANNA, now_s=0)
    sessions.find(first, now_s=1)
    for _ in range(SESSIONS_MAX - 1):
        sessions.open(ANNA, now_s=2)
    assert sessions.find(second, now_s=3) is None
    assert sessions.find(first, now_s=3) == ANNA
