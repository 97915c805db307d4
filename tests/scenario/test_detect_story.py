"""What the detectors find in the demo's day, with lead time and sentence; how quiet they are on real logs."""

from __future__ import annotations

import csv
import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from deploy.demo.simulator import make_plant
from deploy.demo.story import LIMITS, Story
from edge.config.detection import DetectSection, bank_of
from edge.detect import kernel
from edge.detect.bank import Batch
from edge.detect.finding import Finding
from edge.detect.port import Channel

STORY = Story(1_790_000_000 // 3600 * 3600, 86_400)
EVERY_S = 10
UNITS = {"temperature": "Cel", "evaporator_temperature": "Cel", "ln2_mass": "kg"}


def answers(time_ms: np.ndarray, values: np.ndarray, channels: list[Channel]) -> list[Finding]:
    rows, width = values.shape
    batch = Batch(
        channel=np.tile(np.arange(width), rows),
        time_ms=np.repeat(time_ms, width),
        value=values.reshape(-1),
        kind=np.where(np.isfinite(values.reshape(-1)), kernel.GOOD, kernel.BAD).astype(np.uint8),
    )
    found = bank_of(DetectSection(), channels, node="g/n").feed(batch).findings
    return [finding for _, finding in found if not finding.is_end]


def day(device: str, *names: str) -> tuple[np.ndarray, list[Finding]]:
    """Seconds of the story at which the first point is above its limit, and what is found."""
    lived = make_plant(device, STORY).run(STORY.history_s // EVERY_S, every_s=EVERY_S)
    limit = next(one for one in LIMITS if one.device == device)
    channels = [
        Channel(
            point=f"{device}/{name}",
            unit=UNITS.get(name, "%"),
            period_ms=1000 * EVERY_S,
            limits=(limit.low, limit.high) if name == "temperature" else (None, None),
        )
        for name in names
    ]
    values = np.stack([np.round(lived.values[name], 2) for name in names], axis=1)
    assert limit.high is not None
    above = lived.second[values[:, 0] > limit.high]
    return above, answers((lived.second + STORY.origin_s) * 1000, values, channels)


def second(finding: Finding) -> int:
    return finding.time_ms // 1000 - STORY.origin_s


def test_the_open_door_is_told_long_before_its_alarm() -> None:
    above, found = day("FRZ-01", "temperature", "evaporator_temperature")
    (door,) = [one for one in found if one.detector == "door"]
    assert 0 < second(door) - STORY.door.start_s <= 180
    alarm = above[above > STORY.door.start_s][0] + 600
    assert alarm - second(door) >= 7 * 60
    assert "is the door open?" in door.sentence
    assert {one.detector for one in found} <= {"door", "drift_up"}, "defrosts and short openings are usual"


def test_the_warming_shipper_is_told_with_its_time_to_excursion() -> None:
    above, found = day("SHP-01", "temperature", "ln2_mass")
    (thermal,) = [one for one in found if one.detector == "thermal"]
    crossed = above[0]
    assert crossed - second(thermal) >= 50 * 60
    assert thermal.expected_ms is not None
    earliest, _, latest = (ms / 1000 - STORY.origin_s for ms in thermal.expected_ms)
    assert earliest <= crossed <= latest
    assert "it will pass -150 °C" in thermal.sentence
    assert "evaporation" in {one.detector for one in found}


def test_the_stuck_probe_is_told_and_nothing_else_of_the_incubator() -> None:
    _, found = day("INC-01", "temperature", "co2", "humidity")
    (stuck,) = found
    assert (stuck.detector, stuck.point) == ("flatline", "INC-01/humidity")
    assert 0 < second(stuck) - STORY.stuck.start_s <= 15 * 60
    assert "the probe may be stuck" in stuck.sentence


def logs() -> Path:
    folder = os.environ.get("TELOMERE_DATA")
    if not folder:
        pytest.skip("real logs are not here: name their folder in TELOMERE_DATA")
    return Path(folder)


def test_real_bioreactor_logs_give_at_most_one_finding_a_channel_and_month() -> None:
    months, found = 0.0, []
    for path in sorted((logs() / "bioreactor_livingphysics").glob("*.csv.gz")):
        with gzip.open(path, "rt") as file:
            rows = list(csv.reader(file))
        table = np.array([[float(text or "nan") for text in row] for row in rows[1:]])
        time_ms = 1_700_000_000_000 + (1000 * table[:, 0]).astype(np.int64)
        channels = [Channel(point=f"{path.name[:8]}/{name}") for name in rows[0][1:]]
        found += answers(time_ms, table[:, 1:], channels)
        months += len(channels) * (time_ms[-1] - time_ms[0]) / 1000 / 86_400 / 30.4
    assert months > 7
    assert len(found) <= months, [finding.sentence for finding in found]
