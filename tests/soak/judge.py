"""The judge of a soak: the truth file against what the collector shows. It imports nothing of ours.

    python tests/soak/judge.py FOLDER

FOLDER holds `site.json` (points, address, token, flush interval, longest period), `truth.csv` (every
value given out), `kills.csv` (who was killed or damaged, when), `offsets.csv` (what was added to a
gateway's wall clock), `receipts.csv` (what the collector promised). Asks `/readings.csv` of every
point, `/nodes`, `/events` and `/exceptions`.

The rule for a value that is not in `readings.csv`. It is DECLARED only if
 1. the gateway itself said so: an `agent_down` event whose interval, on the gateway's own clock,
    holds the moment of the answer, and
    a. the agent was killed (SIGKILL) at most one flush interval + one period + SLACK_S after the
       answer: what it had only in its memory; or
    b. its disk was damaged beyond a power cut (torn log) after the answer; or
 2. a committed `loss` event names the segment numbers between its neighbours, and has not yet been
    used up by other values.
Everything else that is missing is UNEXPLAINED. A value that stands in two rows is TWICE; one that was
never given out is STRANGE; a number missing before later ones is a GAP unless a loss or rolled_back
event names it; a receipt of a ledger that covers less than an earlier one is TAKEN BACK: it had been
given for what was not on the disk, even when the gateway heals that from what it keeps. A collector
whose disk was damaged says so by a new ledger id, under which receipts begin anew; a ledger id that
nobody's damage explains is CHANGED. Exit 0 when all of these and `waiting` are 0, else 1.
"""

from __future__ import annotations

import bisect
import collections
import csv
import datetime as dt
import io
import json
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

SLACK_S = 1.2
"""Two shared cores: an agent may come late to its flush, and a sync may be held."""
AFTER_KILL_S = 1.0
"""A device may answer a question of an agent that has just died."""
ROUNDING_S = 0.005
SHOWN_MAX = 20
Place = tuple[str, int]
"""Epoch and segment number."""


class Site:
    """What the folder says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        facts = json.loads((folder / "site.json").read_text(encoding="utf-8"))
        self.points: list[str] = facts["points"]
        self.url: str = facts["url"]
        self.token: str = facts["token"]
        self.bound_s: float = facts["flush_s"] + facts["period_s"] + SLACK_S
        self.truth: dict[str, dict[int, float]] = {point: {} for point in self.points}
        for row in _rows(folder / "truth.csv"):
            self.truth[row["point"]][int(row["count"])] = int(row["unix_ns"]) / 1e9
        self.kills: dict[str, list[tuple[float, str]]] = collections.defaultdict(list)
        for row in _rows(folder / "kills.csv"):
            self.kills[row["node"]].append((int(row["unix_ns"]) / 1e9, row["why"]))
        self._offsets: dict[str, list[tuple[float, float]]] = collections.defaultdict(list)
        for row in _rows(folder / "offsets.csv"):
            self._offsets[row["node"]].append((int(row["unix_ns"]) / 1e9, int(row["offset_ns"]) / 1e9))

    def on_its_clock(self, node: str, true_s: float) -> float:
        """What the gateway's wall clock showed at a true instant."""
        at = bisect.bisect_right(self._offsets[node], (true_s, float("inf"))) - 1
        return true_s + (self._offsets[node][at][1] if at >= 0 else 0.0)

    def was_killed(self, node: str, answered_s: float) -> bool:
        """Whether the agent's memory was lost soon enough after this answer."""
        return any(
            -AFTER_KILL_S <= killed_s - answered_s <= self.bound_s
            for killed_s, why in self.kills[node]
            if why != "damage"
        )

    def receipts(self) -> list[dict[str, str]]:
        """Every receipt in the order in which the collector gave it."""
        return sorted(_rows(self.folder / "receipts.csv"), key=lambda row: int(row["connection"]))

    def taken_back(self) -> list[str]:
        """Receipts that cover less than an earlier one of the same ledger and epoch."""
        promised: dict[tuple[str, str], int] = {}
        found = []
        for row in self.receipts():
            key, upto = (row["ledger"], row["epoch"]), int(row["upto"])
            if upto < promised.get(key, 0):
                found.append(
                    f"{row['epoch']}: {promised[key]}, then {upto} at {int(row['unix_ns']) / 1e9:.3f}"
                )
            promised[key] = upto
        return found

    def changed(self) -> list[str]:
        """Ledger ids that came without the collector's disk having been damaged once more before."""
        hits = sorted(at for at, why in self.kills["collector"] if why == "damage")
        found, known = [], []
        for row in self.receipts():
            ledger, at = row["ledger"], int(row["unix_ns"]) / 1e9
            if ledger in known:
                continue
            known.append(ledger)
            if len(known) - 1 > bisect.bisect(hits, at):
                found.append(f"{ledger} at {at:.3f}")
                hits.insert(0, 0.0)  # told once
        return found

    def was_damaged(self, node: str, answered_s: float) -> bool:
        """Whether the gateway's disk was damaged after this answer."""
        return any(why == "damage" and answered_s <= at + AFTER_KILL_S for at, why in self.kills[node])


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


class Collector:
    """The answers, each kept in the folder as it came."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._folder = site.folder / "answers"
        self._folder.mkdir(exist_ok=True)

    def text(self, path: str, name: str) -> str:
        request = urllib.request.Request(
            f"{self._site.url}/api/v1{path}", headers={"Authorization": f"Bearer {self._site.token}"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            text: str = answer.read().decode()
        (self._folder / name).write_text(text, encoding="utf-8")
        return text

    def items(self, path: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            name = f"{path.strip('/')}-{len(found)}.json"
            mark = "?" if not cursor else f"?cursor={urllib.parse.quote(cursor)}"
            page = json.loads(self.text(f"{path}{mark}", name))
            found += page["items"]
            cursor = page["next"] or ""
            if not cursor:
                return found

    def readings(self, point: str) -> list[dict[str, str]]:
        """Rows with a value; none for a point that was never announced."""
        try:
            text = self.text(
                f"/points/{urllib.parse.quote(point)}/readings.csv", f"{point.replace('/', '_')}.csv"
            )
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return []
            raise
        return [row for row in csv.DictReader(io.StringIO(text)) if row["value"]]


class Declared:
    """What gateways said about themselves."""

    def __init__(self, events: list[dict[str, Any]]) -> None:
        self._down: dict[str, list[tuple[float, float]]] = collections.defaultdict(list)
        self.loss: dict[str, list[tuple[int, int]]] = collections.defaultdict(list)
        self.loss_readings: dict[str, int] = collections.Counter()
        self.rolled_back: dict[str, int] = {}
        self.kinds = collections.Counter(event["kind"] for event in events)
        for event in events:
            node = event["source"].removeprefix("node:")
            if event["kind"] == "agent_down":
                self._down[node].append((_seconds(event["from"]), _seconds(event["to"])))
            elif event["kind"] == "loss":
                self.loss[event["epoch"]] += [(first, last) for first, last in event["ranges"]]
                self.loss_readings[event["epoch"]] += event["readings"]
            elif event["kind"] == "rolled_back":
                self.rolled_back[event["old_epoch"]] = event["last_number"]

    def was_down(self, node: str, at_s: float) -> bool:
        """Whether an agent_down interval of this node holds this moment of its own clock."""
        return any(start - ROUNDING_S <= at_s <= end + ROUNDING_S for start, end in self._down[node])

    def lost_between(self, before: Place | None, after: Place | None) -> str | None:
        """The epoch whose loss event names a number between two neighbours, while it is not used up."""
        for epoch, ranges in self.loss.items():
            low = before[1] if before is not None and before[0] == epoch else 0
            high = after[1] if after is not None and after[0] == epoch else float("inf")
            if epoch not in {place[0] for place in (before, after) if place is not None}:
                continue
            if self.loss_readings[epoch] > 0 and any(last > low and first < high for first, last in ranges):
                return epoch
        return None

    def is_told(self, epoch: str, number: int) -> bool:
        """Whether an event says that this number never comes."""
        if any(first <= number <= last for first, last in self.loss[epoch]):
            return True
        return epoch in self.rolled_back and number > self.rolled_back[epoch]


def _seconds(text: str) -> float:
    return dt.datetime.fromisoformat(text).timestamp()


def judge_point(
    site: Site, declared: Declared, point: str, rows: list[dict[str, str]], verdict: dict[str, Any]
) -> None:
    """Every value that was given out at one point against its rows."""
    truth = site.truth[point]
    node = "/".join(point.split("/")[:2])
    seen: dict[int, list[Place]] = collections.defaultdict(list)
    strange = []
    for row in rows:
        value = float(row["value"])
        if int(value) not in truth or value != int(value):
            strange.append(value)
        else:
            seen[int(value)].append((row["epoch"], int(row["number"])))
    known = sorted(seen)
    found: dict[str, list[int]] = collections.defaultdict(list)
    for count in sorted(truth.keys() - seen.keys()):
        at = bisect.bisect(known, count)
        before = seen[known[at - 1]][0] if at > 0 else None
        after = seen[known[at]][0] if at < len(known) else None
        found[_why_missing(site, declared, node, truth[count], (before, after))].append(count)
    twice = sorted(count for count, places in seen.items() if len(places) > 1)
    verdict["sampled"] += len(truth)
    verdict["committed"] += len(seen)
    verdict["declared_killed"] += len(found["killed"])
    verdict["declared_damaged"] += len(found["damaged"])
    verdict["declared_loss"] += len(found["loss"])
    verdict["unexplained"] += len(found["unexplained"])
    verdict["twice"] += len(twice)
    verdict["strange"] += len(strange)
    faults: dict[str, list[Any]] = {
        "unexplained": found["unexplained"],
        "twice": twice,
        "strange": strange,
    }
    if any(faults.values()):
        verdict["faults"][point] = {
            name: [f"{value:g} at {truth.get(int(value), 0):.3f}" for value in values[:SHOWN_MAX]]
            for name, values in faults.items()
            if values
        }


def _why_missing(
    site: Site,
    declared: Declared,
    node: str,
    answered_s: float,
    between: tuple[Place | None, Place | None],
) -> str:
    if declared.was_down(node, site.on_its_clock(node, answered_s)):
        if site.was_killed(node, answered_s):
            return "killed"
        if site.was_damaged(node, answered_s):
            return "damaged"
    epoch = declared.lost_between(*between)
    if epoch is not None:
        declared.loss_readings[epoch] -= 1
        return "loss"
    return "unexplained"


def judge(folder: Path) -> dict[str, Any]:
    """The verdict; `good` says it in one word."""
    site = Site(folder)
    collector = Collector(site)
    declared = Declared(collector.items("/events"))
    nodes = collector.items("/nodes")
    exceptions = collector.items("/exceptions")
    figures = ("sampled", "committed", "repeated", "declared_killed", "declared_damaged", "declared_loss")
    verdict: dict[str, Any] = dict.fromkeys(
        (*figures, "unexplained", "twice", "strange", "gaps", "taken_back", "changed", "waiting"), 0
    )
    verdict["faults"] = {}
    for point in site.points:
        judge_point(site, declared, point, collector.readings(point), verdict)
    receipts = {"taken_back": site.taken_back(), "changed": site.changed()}
    verdict |= {name: len(told) for name, told in receipts.items()}
    if any(receipts.values()):
        verdict["faults"]["receipts"] = {name: told[:SHOWN_MAX] for name, told in receipts.items() if told}
    for node in nodes:
        verdict["repeated"] += node["repeated"]
        verdict["waiting"] += node["waiting"]
        missing = [
            number
            for first, last in node["gaps"]
            for number in range(first, last + 1)
            if not declared.is_told(node["epoch"], number)
        ]
        verdict["gaps"] += len(missing)
        if missing:
            verdict["faults"][f"{node['group']}/{node['node']} {node['epoch']}"] = {
                "gaps": missing[:SHOWN_MAX]
            }
    verdict["declared_lost"] = sum(
        verdict[name] for name in ("declared_killed", "declared_damaged", "declared_loss")
    )
    verdict["ledgers"] = len({row["ledger"] for row in site.receipts()})
    told = ("node", "epoch", "upto", "gaps", "segments", "duplicates", "forks", "refused", "mismatches")
    verdict["nodes"] = [{name: node[name] for name in told} for node in nodes]
    verdict["events"] = dict(declared.kinds)
    verdict["exceptions"] = dict(collections.Counter(item["kind"] for item in exceptions))
    bad = ("unexplained", "twice", "strange", "gaps", "taken_back", "changed", "waiting")
    verdict["good"] = verdict["sampled"] > 0 and not any(verdict[name] for name in bad)
    return verdict


def main() -> int:
    """The command line."""
    folder = Path(sys.argv[1])
    verdict = judge(folder)
    text = json.dumps(verdict, indent=1)
    (folder / "verdict.json").write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0 if verdict["good"] else 1


if __name__ == "__main__":
    sys.exit(main())
