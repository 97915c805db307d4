"""Parquet partitions: exact columns by site and day, and what a crash leaves behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from collector.store.sinks import parquet
from collector.store.sinks.model import SinkDownError, Step
from collector.store.sinks.parquet import ParquetFolder
from gateway.contract.reading import Kind, Quality, Reading, Value
from tests.gateways import T0_MS, metric, numbers
from tests.sinks.site import Site

DAY_MS = 86_400_000


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def rows_of(folder: Path, *columns: str) -> list[tuple[object, ...]]:
    table = pq.read_table(folder, columns=list(columns))
    return sorted(zip(*(table[name].to_pylist() for name in columns), strict=True), key=repr)


def test_every_kind_in_its_column_and_every_day_in_its_folder(site: Site, tmp_path: Path) -> None:
    values: dict[Kind, Value] = {
        Kind.F64: -0.0,
        Kind.I64: -(2**63),
        Kind.U64: 2**64 - 1,
        Kind.BOOL: False,
        Kind.STRING: "größer\n",
    }
    site.born(*(metric(f"of {kind}", alias, kind) for alias, kind in enumerate(values, 1)))
    site.take(
        [Reading(T0_MS, kind, value, key=alias) for alias, (kind, value) in enumerate(values.items(), 1)]
    )
    site.take([Reading(T0_MS + DAY_MS, Kind.F64, None, key=1, quality=Quality.BAD, reason="timeout")])
    folder = tmp_path / "out"
    copier = site.copier(f"parquet:{folder}")
    assert not copier.step()
    assert files(folder) == [], "a quiet site waits for more"
    site.stores.now_ns += 601_000_000_000
    site.drain(copier)
    assert copier.cursor == site.stores.ledger.last_id() == 4
    name = f"part-{site.stores.ledger.id}-1-4-0.parquet"
    assert files(folder) == [f"site=zurich/date=2026-09-21/{name}", f"site=zurich/date=2026-09-22/{name}"]
    names = ("value", "value_int", "value_uint", "value_bool", "value_text")
    first = pq.read_table(folder / "site=zurich/date=2026-09-21" / name, partitioning=None)
    assert first.schema.equals(parquet.SCHEMA)
    for row, (kind, value) in enumerate(values.items()):
        at = first["point"].to_pylist().index(f"of {kind}")
        found = [first[one][at].as_py() for one in names]
        assert [one for one in found if one is not None] == [value]
        assert found[row] == value
    assert str(first["value"][0].as_py()) == "-0.0"
    assert set(first["unit"].to_pylist()) == {"Cel"}
    (late,) = pq.read_table(folder / "site=zurich/date=2026-09-22" / name, partitioning=None).to_pylist()
    assert (late["value"], late["quality"], late["reason"]) == (None, 0, "timeout")
    assert (late["epoch"], late["number"], late["index"], late["entry"], late["seen"]) == (
        site.gateway.epoch,
        2,
        0,
        4,
        4,
    )
    assert late["time"].value == (T0_MS + DAY_MS) * 1_000_000 if hasattr(late["time"], "value") else True


def test_a_crash_leaves_neither_a_half_file_nor_a_double(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    site.born(metric("t", 1))
    site.take(numbers(1, T0_MS, [1.0, 2.0]))
    site.stores.now_ns += 601_000_000_000
    site.drain(site.copier(f"parquet:{folder}"))
    site.take(numbers(1, T0_MS + 5000, [3.0]), numbers(1, T0_MS + DAY_MS, [4.0]))
    site.stores.now_ns += 601_000_000_000
    crashed = site.copier(f"parquet:{folder}")
    writes = iter([True, False])

    def torn(self: ParquetFolder, path: Path, table: object) -> None:
        if next(writes):
            written(self, path, table)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(f"{path.name}.tmp").write_bytes(b"PAR1 half")
        raise KeyboardInterrupt  # as a kill: nothing is tidied

    written = ParquetFolder._file
    monkeypatch.setattr(ParquetFolder, "_file", torn)
    with pytest.raises(KeyboardInterrupt):
        crashed.step()
    monkeypatch.undo()
    assert len(files(folder)) == 3
    site.take(numbers(1, T0_MS + DAY_MS + 1000, [5.0]))
    site.stores.now_ns += 601_000_000_000
    site.drain(site.copier(f"parquet:{folder}"))
    assert not [name for name in files(folder) if name.endswith(".tmp")]
    times = [T0_MS, T0_MS + 1000, T0_MS + 5000, T0_MS + DAY_MS, T0_MS + DAY_MS + 1000]
    table = pq.read_table(folder, columns=["time", "value"])
    found = sorted(zip(table["time"].cast("int64").to_pylist(), table["value"].to_pylist(), strict=True))
    assert found == [(time * 1_000_000, float(i)) for i, time in enumerate(times, 1)]


def test_a_folder_whose_cursor_is_lost_is_written_anew_and_holds_nothing_twice(
    site: Site, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    site.born(metric("t", 1))
    site.take(numbers(1, T0_MS, [1.0]))
    site.stores.now_ns += 601_000_000_000
    first = site.copier(f"parquet:{folder}")
    site.drain(first)
    foreign = folder / "site=zurich" / "date=2026-09-21" / "part-somebody-else.parquet"
    foreign.write_bytes(b"theirs")
    for path in (tmp_path / "sinks").iterdir():
        path.unlink()
    site.take(numbers(1, T0_MS + 1000, [2.0]))
    site.stores.now_ns += 601_000_000_000
    site.drain(site.copier(f"parquet:{folder}"))
    assert foreign.read_bytes() == b"theirs"
    foreign.unlink()
    assert rows_of(folder, "value") == [(1.0,), (2.0,)]


def test_a_folder_that_cannot_be_written_is_a_sentence(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    copier = site.copier(f"parquet:{tmp_path / 'file' / 'out'}")
    with pytest.raises(SinkDownError, match="out cannot be written: Not a directory"):
        copier.step()


def test_a_full_step_does_not_wait(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "STEP", Step(entries_max=2, bytes_max=1 << 20))
    site.born(metric("t", 1))
    site.take(*(numbers(1, T0_MS + i * 1000, [float(i)]) for i in range(5)))
    copier = site.copier(f"parquet:{tmp_path / 'out'}")
    site.drain(copier)
    assert copier.cursor == 6
    assert len(files(tmp_path / "out")) == 2
    assert np.array(rows_of(tmp_path / "out", "value")).ravel().tolist() == [0.0, 1.0, 2.0, 3.0]
