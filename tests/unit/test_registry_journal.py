"""The journal: order, known time, durability, refusal of what it cannot hold."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from collector.registry.errors import RegistryError
from collector.registry.journal import Journal


def test_known_time_never_decreases_though_the_clock_steps_back(tmp_path: Path) -> None:
    clock = iter([100, 50, 200])
    journal = Journal.open(url="sqlite:", data_dir=tmp_path, now_ns=lambda: next(clock))
    known = [journal.append(kind="note", subject="s", body={}, actor="a").known_at_ns for _ in range(3)]
    assert known == [100, 100, 200]
    assert [journal.id_at(t) for t in (99, 100, 199, 200, 10**18)] == [0, 2, 2, 3, 3]
    assert (journal.known_ns(0), journal.known_ns(2), journal.known_ns(9)) == (0, 100, 200)
    journal.close()


def test_rows_come_back_in_a_new_process_and_go_on_from_there(tmp_path: Path) -> None:
    journal = Journal.open(url="sqlite:", data_dir=tmp_path, now_ns=lambda: 7)
    first = journal.append(
        kind="rule", subject="rule:x", body={"b": 1.5, "a": "ü"}, actor="anna", reason="why"
    )
    journal.append(kind="link", subject="link:2", body={}, actor="anna")
    journal.close()
    again = Journal.open(url="sqlite:", data_dir=tmp_path, now_ns=lambda: 3)
    assert again.rows(upto=1) == [first]
    assert [row.id for row in again.rows(after=1)] == [2]
    assert [row.id for row in again.rows(kinds=("link",))] == [2]
    third = again.append(kind="link", subject="link:3", body={}, actor="bob")
    assert (third.id, third.known_at_ns) == (3, 7)
    again.close()
    with sqlite3.connect(tmp_path / "registry.db") as plain:
        assert plain.execute("SELECT body FROM journal WHERE id = 1").fetchone() == ('{"a":"ü","b":1.5}',)
        assert plain.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    plain.close()


def test_a_row_that_cannot_be_written_is_not_known(tmp_path: Path) -> None:
    journal = Journal.open(url="sqlite:", data_dir=tmp_path, now_ns=lambda: 1)
    with pytest.raises(ValueError, match="not JSON compliant"):
        journal.append(kind="rule", subject="r", body={"high": float("nan")}, actor="a")
    assert journal.rows() == []
    journal.close()


def test_a_registry_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    Journal.open(url="sqlite:", data_dir=tmp_path, now_ns=lambda: 1).close()
    with sqlite3.connect(tmp_path / "registry.db") as plain:
        plain.execute("UPDATE schema_version SET version = 99")
    plain.close()
    with pytest.raises(RegistryError, match="newer release"):
        Journal.open(url="sqlite:", data_dir=tmp_path, now_ns=lambda: 1)


@pytest.mark.parametrize("url", ["nonsense", "postgresql+psycopg://host/db"])
def test_a_url_that_cannot_be_served_says_what_to_write(tmp_path: Path, url: str) -> None:
    with pytest.raises(RegistryError, match='write "sqlite:"'):
        Journal.open(url=url, data_dir=tmp_path, now_ns=lambda: 1)


def test_a_time_that_was_asked_for_is_closed_though_the_clock_steps_back(tmp_path: Path) -> None:
    clock = iter([100, 150])
    journal = Journal.open(url="sqlite:", data_dir=tmp_path, now_ns=lambda: next(clock))
    journal.append(kind="note", subject="s", body={}, actor="a")
    assert journal.id_at(180) == 1
    assert journal.append(kind="note", subject="s", body={}, actor="a").known_at_ns == 181
    assert journal.id_at(180) == 1
    journal.close()
