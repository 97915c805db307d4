"""Logs as MQTT sensors: options, rows, times, and never more ahead than the window."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path

import pytest

from edge.drivers.replay import Log, Progress, Replayer, ReplayError, stem_of
from tests.brokers import Mosquitto


def written(folder: Path, text: str, name: str = "log.csv") -> Path:
    path = folder / name
    raw = text.encode("utf-8-sig")
    path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    return path


FREEZER = (
    "DateTime,Time,LinuxTime,Temperature,Humidity\n"
    '"7/7/2022, 4:00 PM",4:00 PM,1657195200,-19.3,49\n'
    '"7/7/2022, 4:01 PM",4:01 PM,1657195260.5,,NaN\n'
)


def test_gzip_bom_and_options(tmp_path: Path) -> None:
    path = written(tmp_path, FREEZER, "freezer.csv.gz")
    log = Log.parse(f"{path}:time=LinuxTime,unit=s,points=Temperature+Humidity")
    assert log.stem == "freezer"
    assert log.points == ("Temperature", "Humidity")
    one, two = log.rows()
    assert (one.time_ms, dict(one.values)) == (1657195200000, {"Temperature": -19.3, "Humidity": 49.0})
    assert (two.time_ms, dict(two.values)) == (1657195260500, {"Temperature": None, "Humidity": None})
    assert json.loads(two.payload()) == {"Temperature": None, "Humidity": None, "ts": 1657195260500}


def test_without_options_time_is_found_and_all_other_columns_are_points(tmp_path: Path) -> None:
    log = Log.parse(str(written(tmp_path, "time;a;b\n2025-08-30 18:43:45.0001;1,5;2\n")))
    assert (log.time, log.unit, log.points) == ("time", "iso", ("a", "b"))
    (row,) = log.rows()
    assert row.time_ms == 1756579425000, "the nearest millisecond"
    assert dict(row.values) == {"a": None, "b": 2.0}


def test_origin_and_zone(tmp_path: Path) -> None:
    path = written(tmp_path, "time,t\n1e-05,1\n30.00022,2\n")
    log = Log.parse(f"{path}:time=time,unit=s,origin=2025-08-30T18:43:45Z")
    assert [row.time_ms for row in log.rows()] == [1756579425000, 1756579455000]
    local = Log.parse(f"{path}:unit=ms,origin=2025-08-30T18:43:45,zone=Europe/Zurich")
    assert next(local.rows()).time_ms == 1756572225000
    stamped = written(tmp_path, "when,t\n2025-08-30T20:43:45,1\n", "zoned.csv")
    zoned = Log.parse(f"{stamped}:time=when,unit=iso,zone=Europe/Zurich")
    assert next(zoned.rows()).time_ms == 1756579425000


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("a,b\n1,2\n", "", "say which column is the time"),
        ("time,b\n1,2\n", ":time=when", "no column 'when'"),
        ("time,b\n1,2\n", ":points=b+c", "no column 'c'"),
        ("time,b\n1,2\n", ":unit=h", "unit=h"),
        ("time,b\n1,2\n", ":zone=Mars/Base", "zone=Mars/Base"),
        ("time,b\n1,2\n", ":origin=yesterday", "yesterday"),
        ("time\n1\n", "", "at least two"),
        ("time,b\nnoon,2\n", ":unit=s", "log.csv:2"),
    ],
)
def test_what_cannot_be_replayed_is_a_sentence(tmp_path: Path, text: str, options: str, words: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ReplayError, match=words):
        list(Log.parse(f"{path}{options}").rows())


def test_a_wrong_unit_is_told_before_anything_is_published(tmp_path: Path) -> None:
    path = written(tmp_path, "time,b\n2024-03-01 10:00:00,2\n")
    with pytest.raises(ReplayError, match="not a number of s"):
        Log.parse(f"{path}:unit=s")


def test_a_missing_file_is_a_sentence_and_colons_in_names_are_kept(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match="absent"):
        Log.parse(str(tmp_path / "absent.csv"))
    path = written(tmp_path, "time,b\n1,2\n", "a:b.csv")
    assert Log.parse(f"{path}:unit=s").path == path
    assert stem_of(Path("x.tar.gz")) == "x.tar"
    assert stem_of(Path("run.CSV")) == "run"


async def test_never_more_than_the_window_ahead(tmp_path: Path, broker: Mosquitto) -> None:
    rows = "".join(f"{i},{i}.5,\n" for i in range(1000))
    log = Log.parse(f"{written(tmp_path, 'time,a,b' + chr(10) + rows)}:unit=s")
    progress = Progress()
    asked: list[int] = []
    stored = 0

    def look() -> int:
        """A gateway that stores 50 messages of two readings each time it is looked at."""
        nonlocal stored
        asked.append(progress.published - stored // 2)
        stored = min(stored + 100, progress.published * 2)
        return stored

    replayer = Replayer(
        host="127.0.0.1", port=broker.port, client_id="replay", logs=(log,), stored=look, progress=progress
    )
    async with asyncio.timeout(30):
        await replayer.run()
    assert (progress.published, progress.readings, progress.stored) == (1000, 2000, 1000)
    assert progress.finished.is_set()
    assert max(asked) == 200
