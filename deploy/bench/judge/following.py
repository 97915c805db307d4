"""What stored findings save: tracks of every rule made once, then one late hour in the middle of each.

Owns the two questions and that their answers are those of the whole history. Must not know how a track is
derived.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any, Final

from collector.judge.runs.track import derive
from collector.store.judging.deriving import Changes, Deriver, Reader, whole_history
from collector.store.judging.findings import FINDINGS_NAME, Findings, FindingsReading
from deploy.bench.judge.asking import Asked
from deploy.bench.judge.made import FROM_MS, PERIOD_MS, Made
from deploy.bench.reads import Opened
from gateway.contract.reading import PointName

HOUR_MS: Final = 3_600_000
PERIODS: Final = ((FROM_MS, PERIOD_MS),)
POINTS_MAX: Final = 20
"""Points of which an hour is derived again, and compared with the whole history."""


def measure(folder: Path, asked: Asked, site: Made, opened: Opened) -> dict[str, Any]:
    """Seconds for all tracks, milliseconds for an hour of one and for one whole history."""
    upto = opened.ledger.last_id()
    findings = Findings(folder / FINDINGS_NAME, ledger_id=opened.ledger.id, last_id=upto)
    reading = FindingsReading(folder / FINDINGS_NAME)
    changes = Changes(ledger=opened.ledger, projection=opened.projection, sections=asked.sections)
    deriver = Deriver(findings=findings, sections=asked.sections, changes=changes)
    rules = [version.limit() for versions in asked.rules.values() for version in versions]
    began = time.perf_counter()
    for rule in rules:
        deriver.bring_up(rule, PERIODS, upto=upto)
    all_s = time.perf_counter() - began
    hour_ms, whole_ms, differing = [], [], 0
    for rule, ends in zip(rules[:POINTS_MAX], site.ends_ms.tolist(), strict=False):
        read = Reader(asked.sections, PointName.parse(rule.point), upto)
        middle = (FROM_MS + ends[-1]) // 2
        began = time.perf_counter()
        kept = reading.track(rule)
        assert kept is not None, "all were brought up"
        list(derive(kept.track, [(middle, middle + HOUR_MS)], read))
        found = kept.track.excursions()
        hour_ms.append((time.perf_counter() - began) * 1000)
        began = time.perf_counter()
        wanted = whole_history(rule, PERIODS, read(None))
        whole_ms.append((time.perf_counter() - began) * 1000)
        differing += found != wanted
    findings.close()
    reading.close()
    return {
        "tracks": len(rules),
        "all_tracks_s": round(all_s, 3),
        "late_hour_ms": round(statistics.median(hour_ms), 2),
        "whole_history_ms": round(statistics.median(whole_ms), 2),
        "differing": differing,
    }
