"""`telomere edge detect`: a log in, one line a row out, strictly causal; `warmup`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from deploy.cli import app


def stuck_log(folder: Path, rows: int = 900) -> Path:
    draw = np.random.default_rng(5)
    value = np.round(37 + 0.05 * draw.standard_normal(rows), 2)
    value[600:] = value[600]
    path = folder / "probe.csv"
    lines = [f"{1_700_000_000 + 60 * i},{v}" for i, v in enumerate(value)]
    path.write_text("time,temperature\n" + "\n".join(lines) + "\n")
    return path


def answers(*arguments: str) -> list[dict[str, object]]:
    result = CliRunner().invoke(app, ["edge", "detect", *arguments, "--json"])
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_stuck_probe_is_found_with_a_sentence(tmp_path: Path) -> None:
    rows = answers(str(stuck_log(tmp_path)))
    assert len(rows) == 900
    (found,) = [(i, finding) for i, row in enumerate(rows) for finding in row["findings"]]  # type: ignore[attr-defined]
    at, finding = found
    assert 600 + 40 <= at <= 600 + 60
    assert finding["detector"] == "flatline"
    assert finding["point"] == "probe/temperature"
    assert finding["from"] == rows[600]["time"]
    assert "stood at exactly" in finding["sentence"]
    assert rows[at]["score"] == 1.0
    assert all(0 <= row["score"] <= 1 for row in rows)  # type: ignore[operator]


def test_what_comes_later_changes_no_line_before(tmp_path: Path) -> None:
    log = stuck_log(tmp_path)
    whole = answers(str(log))
    log.write_text("\n".join(log.read_text().splitlines()[:701]) + "\n")
    assert answers(str(log)) == whole[:700]


def test_a_file_of_nothing_but_detect_is_enough(tmp_path: Path) -> None:
    config = tmp_path / "detect.toml"
    config.write_text('[detect]\noff = ["flatline"]\n[detect.points."probe/*"]\nrange = [30, 37.1]\n')
    rows = answers(str(stuck_log(tmp_path)), "--config", str(config))
    found = {finding["detector"] for row in rows for finding in row["findings"]}  # type: ignore[attr-defined]
    assert found == {"range"}


def test_an_unknown_detector_is_a_fault(tmp_path: Path) -> None:
    config = tmp_path / "detect.toml"
    config.write_text("[detect.request.hampl]\n")
    result = CliRunner().invoke(app, ["edge", "detect", str(stuck_log(tmp_path)), "--config", str(config)])
    assert result.exit_code != 0


def test_help_lists_every_detector() -> None:
    text = CliRunner().invoke(app, ["edge", "detect", "--help"]).stdout
    for name in ("flatline", "drift_up", "jump", "clock_jump"):
        assert name in text


def test_warmup_says_how_kernels_run(monkeypatch: pytest.MonkeyPatch) -> None:
    result = CliRunner().invoke(app, ["edge", "warmup", "--json"])
    assert json.loads(result.stdout)["mode"] in {"cached", "uncached", "plain"}
