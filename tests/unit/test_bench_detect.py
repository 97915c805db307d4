"""The scorers of `telomere bench detect` on cases whose score is known, and its manners without data."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from deploy.answers import CommandError
from deploy.bench.detect import batches, files, injection, measure, nab, process, ucr

STANDARD = nab.PROFILES["standard"]


def series(*windows: tuple[int, int], rows: int = 1000, name: str = "a") -> files.Series:
    return files.Series(name=name, values=np.zeros(rows), windows=windows)


def flagged(*rows: int, size: int = 1000) -> np.ndarray:
    out = np.zeros(size)
    out[list(rows)] = 1.0
    return out


def test_the_first_row_of_every_window_is_perfection_and_nothing_is_nought() -> None:
    one = series((300, 399), (700, 799))
    assert nab.score({"a": flagged(300, 700)}, [one], STANDARD, 0.5)[0] == pytest.approx(100.0)
    assert nab.score({"a": flagged()}, [one], STANDARD)[0] == 0.0
    assert nab.score({"a": flagged(300)}, [one], STANDARD, 0.5)[0] == pytest.approx(50.0)


def test_a_late_flag_earns_less_and_only_the_best_of_a_window_counts() -> None:
    one = series((300, 399))
    scale = 2 / (1 + math.exp(-5)) - 1
    at_half = (2 / (1 + math.exp(-5 * 0.5)) - 1) / scale
    assert nab.score({"a": flagged(350, 360)}, [one], STANDARD, 0.5)[0] == pytest.approx(50 * (1 + at_half))


def test_a_flag_outside_costs_and_just_after_a_window_less() -> None:
    one = series((300, 399))
    far = nab.score({"a": flagged(300, 900)}, [one], STANDARD, 0.5)[0]
    before = nab.score({"a": flagged(300, 250)}, [one], STANDARD, 0.5)[0]
    near = nab.score({"a": flagged(300, 401)}, [one], STANDARD, 0.5)[0]
    assert far == pytest.approx(100 - 50 * 0.11)
    assert before == pytest.approx(100 - 50 * 0.11)
    assert far < near < 100


def test_the_first_part_of_a_file_is_not_scored() -> None:
    one = series((300, 399))
    assert nab.score({"a": flagged(149, 300)}, [one], STANDARD, 0.5)[0] == pytest.approx(100.0)
    assert nab.score({"a": flagged(150, 300)}, [one], STANDARD, 0.5)[0] < 100.0


def test_the_best_threshold_is_found_by_trying_each() -> None:
    draw = np.random.default_rng(1)
    many = [series((300, 349), (600, 649), name=f"{k}") for k in range(3)]
    scores = {one.name: np.round(draw.random(1000) ** 9, 2) for one in many}
    best, at = nab.score(scores, many, STANDARD)
    tried = [
        nab.score(scores, many, STANDARD, value)[0]
        for value in np.unique(np.concatenate(list(scores.values())))[1:]
    ]
    assert best == pytest.approx(max([0.0, *tried]))
    assert best == pytest.approx(nab.score(scores, many, STANDARD, at)[0])


def test_peaks_let_only_a_higher_score_through_for_a_while() -> None:
    raw = np.array([0.5, 0.4, 0.6, 0.1, np.nan, 0.1, 0.1])
    assert nab.peaks(raw, 2).tolist() == [0.5, 0, 0.6, 0, 0, 0.1, 0]


def test_the_rule_of_the_ucr_archive() -> None:
    assert ucr.right(400, (500, 520), 100)
    assert not ucr.right(399, (500, 520), 100)
    assert ucr.right(220, (500, 800), 100)


def test_a_discord_is_located_by_the_fused_profiles() -> None:
    draw = np.random.default_rng(2)
    values = np.sin(np.arange(3000) / 8) + 0.05 * draw.standard_normal(3000)
    values[2200:2230] = values[2200]
    profiles = {piece: ucr.profile(values, piece) for piece in (36, 72)}
    assert ucr.right(ucr.located(ucr.fused(profiles, 1500), 1500, 54), (2200, 2229), 100)


def test_drift_is_a_ramp_and_then_level() -> None:
    chosen = {"drift": 0.4, "drift_rows": [199, 799]}
    assert [batches.drifted(row, chosen) for row in (0, 499, 1100)] == pytest.approx([0, 0.2, 0.4])


def test_a_rate_is_kept_on_what_is_normal() -> None:
    scores = [np.arange(100.0), np.arange(100.0)]
    marks = [np.arange(100) >= 90, np.arange(100) >= 90]
    assert process._at_rate(scores, marks, 0.05)["found"] == 100.0


def log() -> files.Log:
    draw = np.random.default_rng(3)
    times = np.arange(6000, dtype=np.int64) * 60_000
    values = np.round(5 + 0.2 * np.sin(np.arange(6000) / 40) + 0.03 * draw.standard_normal(6000), 2)
    return files.Log(name="fridge", unit="Cel", time_ms=times, values=values)


def test_each_fault_is_put_in_once_and_the_rest_is_left_alone() -> None:
    made = injection.copies(log(), 1)
    assert len(made) == sum(map(len, injection.SIZES.values())) == 45
    assert len(injection.SIZES) == 9
    for copy in made:
        before = copy.time_ms < copy.first_ms
        same = np.searchsorted(log().time_ms, copy.time_ms[before])
        if copy.kind != "clock":
            assert np.array_equal(copy.values[before], log().values[same]), copy.point
    again = injection.copies(log(), 1)
    assert all(np.array_equal(a.values, b.values, equal_nan=True) for a, b in zip(made, again, strict=True))


def test_gross_faults_are_found_on_a_quiet_log_and_nothing_on_the_log_itself() -> None:
    figures = injection.measure([log()], {"excursion_above": {}}, 1, lambda _: None)
    assert figures["false_by_detector"] == {}
    assert [figures["by_kind"][kind] for kind in ("code", "rail", "gap", "missing", "clock")] == [100.0] * 5


def test_without_data_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(files.VARIABLE, raising=False)
    with pytest.raises(CommandError, match="no data"):
        measure.measure(measure.Options())
    with pytest.raises(CommandError, match="nowhere"):
        files.folder(tmp_path / "nowhere")


def test_one_configuration_with_one_hash() -> None:
    chosen, named = files.config()
    assert len(named) == 16
    assert set(chosen) == {"nab", "ucr", "indpensim", "vessel", "injection", "left_profile"}
    assert json.dumps(chosen)
