"""The judge of the sensors' soak: what the field truly gave out against what the gateway stored.

Stands alone: only the standard library, no line of the project. It is given the simulator's truth file,
the stored readings and absences as JSON lines, and the plan of the campaign, and says what is wrong.
Run as `python judge.py PLAN.json TRUTH.jsonl STORED.jsonl`; exit 1 when anything is.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

Document = dict[str, Any]


def judge(plan: Document, truth: list[Document], stored: list[Document]) -> Document:
    """Figures and everything that is wrong, in `faults`."""
    readings = [one for one in stored if one["what"] == "reading"]
    absences = [one for one in stored if one["what"] == "absence"]
    wrong = _wrong(plan, truth, readings)
    healthy = _good_share(plan, readings)
    jitter = _jitter(plan, readings)
    windows = _windows(plan, truth, readings, absences)
    faults = [f"wrong value: {one}" for one in wrong[:20]]
    faults += [
        f"{device}: only {share:.4%} good"
        for device, share in healthy.items()
        if share < plan["good_share_each"]
    ]
    together = sum(healthy.values()) / max(1, len(healthy))
    if together < plan["good_share_min"]:
        faults.append(f"healthy devices are good in {together:.4%} of their slots")
    faults += [f"{one['device']} {one['kind']}: {one['problem']}" for one in windows if one["problem"]]
    faults += [f"somebody wrote: {one}" for one in truth if one["kind"] == "heard_write"]
    return {
        "answers": sum(one["kind"] in {"answer", "message"} for one in truth),
        "readings": len(readings),
        "with_value": sum(one["value"] is not None for one in readings),
        "wrong": len(wrong),
        "healthy_devices": len(healthy),
        "healthy_good_share": round(together, 6),
        "jitter_ms": jitter,
        "windows": windows,
        "faults": faults,
        "good": not faults,
    }


def _wrong(plan: Document, truth: list[Document], readings: Iterable[Document]) -> list[Document]:
    """Readings with a value that their device did not give out, usable, once, at about that time."""
    given: defaultdict[tuple[str, str, Any], list[float]] = defaultdict(list)
    for one in truth:
        if one["kind"] in {"answer", "message"} and one["usable"]:
            time_ms = one["made_ms"] if one["kind"] == "message" else one["time_ns"] / 1e6
            for name, (_, value) in one["points"].items():
                given[one["device"], name, value].append(time_ms)
    within = plan["tolerance_ms"]
    out = []
    for reading in readings:
        if reading["value"] is None:
            continue
        times = given[reading["device"], reading["name"], reading["value"]]
        near = [time_ms for time_ms in times if abs(time_ms - reading["time_ms"]) <= within]
        if near:
            times.remove(min(near, key=lambda t: abs(t - reading["time_ms"])))
        else:
            out.append(reading)
    return out


def _good_share(plan: Document, readings: list[Document]) -> dict[str, float]:
    """Of each healthy device: good readings among the slots between its first and its last one.

    The agent starts amid a slot that a whole line cannot fill any more: counted is from `settle_ms` on.
    """
    out = {}
    begun_ms = min(one["time_ms"] for one in readings if one["device"] in plan["healthy"])
    readings = [one for one in readings if one["time_ms"] >= begun_ms + plan["settle_ms"]]
    for device in plan["healthy"]:
        shares = []
        for mine in _by_point(readings, device).values():
            times = [one["time_ms"] for one in mine]
            slots = round((max(times) - min(times)) / plan["period_ms"]) + 1
            shares.append(min(1.0, sum(one["quality"] == "good" for one in mine) / slots))
        out[device] = min(shares, default=0.0)
    return out


def _jitter(plan: Document, readings: Iterable[Document]) -> dict[str, float]:
    """How far two following readings of healthy slaves of the great line are off their period."""
    off = []
    for device in plan["timed"]:
        for mine in _by_point(readings, device).values():
            good = sorted(one["time_ms"] for one in mine if one["quality"] == "good")
            off += [abs(after - before - plan["period_ms"]) for before, after in pairwise(good)]
    off.sort()
    if not off:
        return {}
    return {"p50": off[len(off) // 2], "p95": off[int(len(off) * 0.95)], "max": off[-1], "n": len(off)}


def _by_point(readings: Iterable[Document], device: str) -> dict[str, list[Document]]:
    found: defaultdict[str, list[Document]] = defaultdict(list)
    for one in readings:
        if one["device"] == device:
            found[one["name"]].append(one)
    return found


def _windows(
    plan: Document, truth: list[Document], readings: list[Document], absences: list[Document]
) -> list[Document]:
    """For every fault: which reasons were told in its window, and whether those are the expected ones."""
    started_ms = next(one["time_ns"] for one in truth if one["kind"] == "start") / 1e6
    out = []
    for fault in plan["faults"]:
        from_ms = started_ms + fault["from_s"] * 1000 + plan["settle_ms"]
        to_ms = started_ms + fault["to_s"] * 1000 - plan["period_ms"]
        mine = [
            one
            for one in readings
            if one["device"] == fault["device"] and from_ms <= one["heard_ms"] <= to_ms
        ]
        told = {one["reason"] for one in mine}
        told |= {
            one["reason"]
            for one in absences
            if one["device"] == fault["device"] and one["from_ms"] <= to_ms and one["to_ms"] >= from_ms
        }
        expected = set(plan["expected"][fault["kind"]])
        allowed = {*plan["beside"], *plan["allowed"].get(fault["kind"], ())}
        problem = ""
        if not told & expected:
            problem = f"expected {sorted(expected)}, told {sorted(told)}"
        elif strange := told - expected - allowed:
            problem = f"also told {sorted(strange)}"
        out.append({**fault, "told": sorted(told), "readings": len(mine), "problem": problem})
    return out


def main(plan: Path, truth: Path, stored: Path) -> int:
    """Prints the verdict as JSON."""
    lines = [[json.loads(line) for line in path.read_text("utf-8").splitlines()] for path in (truth, stored)]
    verdict = judge(json.loads(plan.read_text("utf-8")), *lines)
    print(json.dumps(verdict, indent=1))
    return 0 if verdict["good"] else 1


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:4])))
