"""Where the benchmarks' data lies, and its rows as arrays. None of it is part of the project.

Owns the folder's layout (docs/benchmarks.md, "Detection": what is expected where). Must not know a detector.
"""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import hashlib
import json
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from deploy.answers import CommandError

VARIABLE: Final = "TELOMERE_BENCH_DATA"
CONFIG: Final = Path(__file__).with_name("config.toml")
Floats = NDArray[np.float64]


def folder(given: Path | None) -> Path:
    """The folder of data. CommandError when there is none."""
    found = given or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    if found is None or not found.is_dir():
        raise CommandError(
            f"no data for the benchmarks of detection{f' in {found}' if found else ''}",
            hint=f"name their folder with --data or {VARIABLE}; docs/benchmarks.md says what belongs there",
        )
    return found


def config() -> tuple[dict[str, Any], str]:
    """The configuration and its hash."""
    text = CONFIG.read_bytes()
    return tomllib.loads(text.decode()), hashlib.sha256(text).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One file of NAB: values, first and last row of each labelled window."""

    name: str
    values: Floats
    windows: tuple[tuple[int, int], ...]


def nab(root: Path) -> list[Series]:
    """Every file of NAB that is there and labelled."""
    labels = json.loads((root / "nab/labels/combined_windows.json").read_text())
    out = []
    for name in sorted(labels):
        with (root / "nab/data" / name).open(encoding="utf-8", newline="") as handle:
            rows = list(csv.reader(handle))[1:]
        first: dict[str, int] = {}
        for i, row in enumerate(rows):
            first.setdefault(_instant(row[0]), i)
        windows = tuple((first[_instant(a)], first[_instant(b)]) for a, b in labels[name])
        out.append(Series(name=name, values=np.array([float(row[1]) for row in rows]), windows=windows))
    return out


def _instant(text: str) -> str:
    return dt.datetime.fromisoformat(text[:19]).isoformat()


@dataclass(frozen=True, slots=True, kw_only=True)
class Discord:
    """One file of the UCR archive: values, rows of training, first and last anomalous row."""

    name: str
    values: Floats
    training: int
    anomaly: tuple[int, int]


def ucr(root: Path) -> list[Discord]:
    """Every file of the archive that is there."""
    out = []
    for path in sorted((root / "ucr_subset").glob("*.test.csv")):
        rows = np.genfromtxt(path, delimiter=",", skip_header=1)
        train = path.with_name(path.name.replace(".test.", ".train."))
        marked = np.flatnonzero(rows[:, -1] > 0)
        with train.open(encoding="utf-8") as handle:
            training = sum(1 for _ in handle) - 1
        name = path.name.removesuffix(".test.csv")
        anomaly = (int(marked[0]), int(marked[-1]))
        out.append(Discord(name=name, values=rows[:, 1].copy(), training=training, anomaly=anomaly))
    return out


def indpensim(root: Path) -> dict[str, dict[str, Floats]]:
    """Batches by name, each its tags by name."""
    out = {}
    for path in sorted((root / "indpensim_pensimpy").glob("*.csv.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as handle:
            head = handle.readline().strip().split(",")
            rows = np.loadtxt(handle, delimiter=",")
        out[path.name.removesuffix(".csv.gz")] = dict(zip(head, rows.T, strict=True))
    return out


def tennessee(root: Path) -> dict[str, Floats]:
    """Files of the Tennessee Eastman process by name (`d00`, `d01_te`), rows by 52 columns."""
    out = {}
    for path in sorted((root / "tep").glob("d*.dat.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as handle:
            rows = np.loadtxt(handle)
        out[path.name.removesuffix(".dat.gz")] = rows.T if rows.shape[0] == 52 else rows
    return out


def skab(root: Path) -> dict[str, tuple[Floats, NDArray[np.bool_]]]:
    """Files of SKAB by name: eight columns, and which rows are anomalous."""
    out = {}
    for path in sorted((root / "skab").glob("*/*.csv")):
        if path.parent.name != "anomaly-free":
            rows = np.genfromtxt(path, delimiter=";", skip_header=1)[:, 1:]
            out[f"{path.parent.name}/{path.stem}"] = (rows[:, :8], rows[:, 8] > 0)
    return out


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """One column of a real log: UTC ms ascending, values with NaN where none came."""

    name: str
    unit: str
    time_ms: NDArray[np.int64]
    values: Floats


def logs(root: Path) -> list[Log]:
    """The temperatures of the bioreactor's runs, and the freezer's."""
    out = []
    for path in sorted((root / "bioreactor_livingphysics").glob("*.csv.gz")):
        with gzip.open(path, "rt", encoding="utf-8", newline="") as handle:
            rows = list(csv.DictReader(handle))
        seconds = np.array([_number(row["time"]) for row in rows])
        start = dt.datetime.strptime(path.name[:15], "%Y%m%d_%H%M%S").replace(tzinfo=dt.UTC)
        times = (int(start.timestamp() * 1000) + 1000 * seconds).astype(np.int64)
        kept = np.r_[True, np.diff(times) > 0]
        for column in rows[0]:
            if column.endswith("_temp"):
                values = np.array([_number(row[column]) for row in rows])
                name = f"{path.name[:8]}/{column}"
                out.append(Log(name=name, unit="Cel", time_ms=times[kept], values=values[kept]))
    for path in sorted((root / "freezer_celsi").glob("*.csv.gz")):
        with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as handle:
            rows = list(csv.DictReader(handle))
        times = np.array([int(row["LinuxTime"]) * 1000 for row in rows], np.int64)
        values = np.array([_number(row["Temperature"]) for row in rows])
        order = np.unique(times, return_index=True)[1]
        out.append(Log(name="freezer/temperature", unit="Cel", time_ms=times[order], values=values[order]))
    return out


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")
