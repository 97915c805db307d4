"""`collector rebuild`: everything derived is made anew, compared with what was there, and put in place."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import apsw
import numpy as np
import pytest
from typer.testing import CliRunner

from collector.flow.rebuild import DRAFT, PROJECTION_NAME, Rebuilt, rebuild
from collector.flow.rebuild.compare import unequal
from collector.store.database import InUseError, held
from collector.store.readings import Form, Readings
from deploy.cli import app
from gateway.contract.reading import Kind
from tests.gateways import T0_MS, SimGateway, metric, numbers
from tests.ledgers import Stores

BR = "BR-01"
SEGMENTS = 30


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A stopped collector's folder: thirty segments of two readings, all projected."""
    stores = Stores(tmp_path)
    gateway = SimGateway()
    stores.take(gateway.nbirth(), gateway.dbirth(BR, [metric("temperature", 1)]))
    stores.take(
        *(gateway.data(gateway.make(BR, numbers(1, T0_MS + i * 2000, [i, i + 0.5]))) for i in range(SEGMENTS))
    )
    stores.project(limit=7)
    stores.close()
    return tmp_path


def again(folder: Path) -> Rebuilt:
    return rebuild(folder, registry_url="sqlite:", now_ns=lambda: T0_MS * 1_000_000)


def alter(folder: Path, sql: str) -> None:
    with closing(apsw.Connection(str(folder / PROJECTION_NAME))) as connection:
        connection.execute(sql)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_was_there_is_found_equal_and_replaced(folder: Path) -> None:
    before = (folder / PROJECTION_NAME).stat().st_ino
    done = again(folder)
    assert done.document()["equal"] is True
    assert (done.entries, done.readings, done.refused) == (SEGMENTS + 2, SEGMENTS * 2, 0)
    assert (folder / PROJECTION_NAME).stat().st_ino != before
    assert "before-rebuild-1" not in names(folder)
    assert DRAFT not in names(folder)


def test_a_projection_that_is_behind_is_brought_forward_before_it_is_compared(folder: Path) -> None:
    stores = Stores(folder)
    gateway = SimGateway(node="gw-2")
    stores.take(gateway.nbirth(), gateway.data(gateway.make("-", numbers(1, T0_MS, [1.0]))))
    stores.close()
    done = again(folder)
    assert (done.differences, done.old, done.entries) == ((), "", SEGMENTS + 4)


def test_a_difference_is_named_and_the_old_file_is_kept(folder: Path) -> None:
    alter(folder, "UPDATE latest SET time_ms = time_ms + 1")
    done = again(folder)
    (one,) = done.differences
    assert (one.table, one.only_old, one.only_new) == ("latest", 1, 1)
    assert one.examples[0].startswith("old: ('zurich'")
    assert done.kept == folder / "before-rebuild-1"
    assert (done.kept / PROJECTION_NAME).is_file()
    assert again(folder).differences == ()


def test_an_old_file_that_cannot_be_read_is_replaced_and_kept(folder: Path) -> None:
    raw = bytearray((folder / PROJECTION_NAME).read_bytes())
    raw[:200] = bytes(200)
    (folder / PROJECTION_NAME).write_bytes(raw)
    done = again(folder)
    assert "cannot be read" in done.old
    assert done.kept is not None
    assert again(folder).document()["equal"] is True


def test_without_an_old_file_there_is_nothing_to_compare(folder: Path) -> None:
    (folder / PROJECTION_NAME).unlink()
    assert again(folder).document()["equal"] is None
    assert (folder / PROJECTION_NAME).is_file()


def test_what_a_killed_rebuild_left_is_removed(folder: Path) -> None:
    (folder / DRAFT).mkdir()
    (folder / DRAFT / PROJECTION_NAME).write_text("half")
    assert again(folder).document()["equal"] is True
    assert DRAFT not in names(folder)


def test_a_running_collector_is_left_alone(folder: Path) -> None:
    with held(folder), pytest.raises(InUseError):
        again(folder)


def test_the_command_tells_and_exits_by_what_it_found(folder: Path) -> None:
    (folder / "collector.toml").write_text('[collector]\ndata_dir = "."\n')
    command = ["collector", "rebuild", "--config", str(folder / "collector.toml")]
    done = CliRunner().invoke(app, [*command, "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["equal"] is True
    alter(folder, "DELETE FROM latest")
    told = CliRunner().invoke(app, command)
    assert told.exit_code == 1
    assert "latest: 0 rows only before, 1 only now" in told.stdout
    with held(folder):
        assert CliRunner().invoke(app, command).exit_code != 0


def test_a_reading_that_is_not_the_same_is_named(folder: Path) -> None:
    """The old chunks give another answer: a piece of one cell is gone."""
    again(folder)
    with closing(apsw.Connection(str(folder / "chunks.db"))) as connection:
        (n,) = connection.execute("SELECT sum(n) FROM piece").fetchall()[0]
        assert n == SEGMENTS * 2
        connection.execute("DELETE FROM piece WHERE id = (SELECT min(id) FROM piece)")
    done = again(folder)
    (one,) = done.differences
    assert one.table == "readings"
    assert one.examples[0].startswith("zurich/gw-1/BR-01/temperature: ")
    assert done.kept is not None
    assert (done.kept / "chunks.db").is_file()
    assert "readings" in again(folder).compared


def test_damaged_chunks_are_told(folder: Path) -> None:
    again(folder)
    with closing(apsw.Connection(str(folder / "chunks.db"))) as connection:
        connection.execute("UPDATE piece SET data = zeroblob(length(data)), figures = NULL")
    done = again(folder)
    (one,) = done.differences
    assert "damaged chunks" in one.examples[0]
    assert done.kept is not None
    assert not list(folder.glob("*-damaged")), "the new file is not the damaged one"
    assert again(folder).document()["equal"] is True


def test_texts_may_be_numbered_differently() -> None:
    def made(values: list[int], strings: tuple[str, ...]) -> Readings:
        n = len(values)
        small, long = np.zeros(n, np.uint16), np.arange(n, dtype=np.int64)
        return Readings(
            kind=Kind.STRING,
            time_ns=long,
            form=np.full(n, Form.STRING, np.uint8),
            bits=np.array(values, np.uint64),
            quality=small,
            reason=small,
            epoch=small,
            number=long,
            index=long,
            ledger=long,
            strings=strings,
            reasons=("",),
            epochs=("e",),
        )

    assert unequal(made([0, 1], ("a", "b")), made([1, 0], ("b", "a"))) == ""
    assert unequal(made([0, 1], ("a", "b")), made([0, 1], ("b", "a"))) == "strings"
    assert unequal(made([0], ("a",)), made([0, 0], ("a",))) == "1 and 2 readings"
