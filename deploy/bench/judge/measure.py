"""`telomere bench judge`: readings a second judged again after a change of rule, and what bounds it.

Owns the order of the parts, the comparison with the peer's answer and the names of the figures. Must not
know how a part works.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from collector.identity.resolve import Leg
from collector.identity.times import NS_PER_MS, ns_of_text
from collector.judge.excursions import excursions_in
from collector.store.chunks.file import CHUNKS_NAME
from collector.store.chunks.pack import unpack, unpack_samples
from collector.store.judging.sections import SectionReading
from deploy.bench import machine, reads
from deploy.bench.judge import following, peer
from deploy.bench.judge import made as making
from deploy.bench.judge.asking import Answer, Asked
from gateway.contract.reading import PointName
from gateway.rules import compiled
from gateway.rules.excursions import LimitRun

RUNS: Final = 3
"""Each question is asked so often; the median counts, the first time all files are warm already."""
BOUND_LEGS: Final = 20
PEER_EVERY_LEGS: Final = 50
"""Batches that the peer takes through its windows whole: a million readings a second makes more too long."""
AREA_TOLERANCE: Final = 1e-6
"""Relative: sums of trapezoids in another order. Times and peaks are compared exactly."""
AIM: Final = ">= 50,000,000"
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How much is judged; the defaults are those of the published figures."""

    batches: int = 1_000
    readings: int = 100_000
    """Of each batch."""
    threads: int = 2
    histories: int = 100
    """Batches of which the whole document is built."""
    peers: bool = True

    @classmethod
    def quick(cls) -> Options:
        """Whether everything works, in some seconds: its figures say nothing about speed."""
        return cls(batches=40, readings=5_000, histories=8)


def measure(folder: Path, options: Options) -> dict[str, Any]:
    """All figures under their names, then how each came about."""
    environment = machine.environment()
    connection = peer.connect(folder, threads=options.threads) if options.peers else None
    _say("making a site")
    site = making.make(folder / "site", batches=options.batches, readings=options.readings)
    with reads.Opened(site.folder) as opened:
        sections = SectionReading(
            chunks=opened.chunks, tail=opened.tail, projection=opened.projection, readings=opened.readings
        )
        facts = making.facts_of(site, ledger=opened.ledger.last_id())
        asked = Asked.of(facts, sections, opened.readings, threads=options.threads)
        _say("judging")
        ours, answer = _ours(asked, site, options)
        chunks = (site.folder / CHUNKS_NAME).stat().st_size
        kept = following.measure(folder, asked, site, opened)
        theirs = None if connection is None else _theirs(connection, asked, folder, site, answer)
    crossed = sum(1 for found in answer.values() if found)
    equal = theirs is None or bool(theirs["equal"])
    best = max((one["readings_per_s"] for one in theirs["ways"].values()), default=0) if theirs else 0
    return {
        "readings_per_s": ours["every"]["readings_per_s"],
        "skipping_readings_per_s": ours["skipping"]["readings_per_s"],
        "history_readings_per_s": ours["history"]["readings_per_s"],
        "duckdb_readings_per_s": best or None,
        "good": equal and ours["same_answer"] and not kept["differing"] and crossed * 100 >= site.batches,
        "batches": site.batches,
        "readings": site.batches * site.readings,
        "batches_crossed": crossed,
        "excursions": sum(map(len, answer.values())),
        "same_answer_skipping": ours["same_answer"],
        "same_answer_duckdb": None if theirs is None else theirs["equal"],
        "bytes_per_reading": round(chunks / (site.batches * site.readings), 3),
        "aim": AIM,
        "bounds": ours["bounds"],
        "ours": {name: ours[name] for name in ("every", "skipping", "history")},
        "findings": kept,
        "duckdb": theirs,
        "made_s": round(site.seconds, 1),
        "environment": environment,
    }


def _ours(asked: Asked, site: making.Made, options: Options) -> tuple[dict[str, Any], Answer]:
    n = site.batches * site.readings
    compiled.warm()
    every, answer = _timed(lambda: asked.excursions(skipping=False), n)
    skipping, short = _timed(lambda: asked.excursions(skipping=True), n)
    batches = min(options.histories, site.batches)
    history, _ = _timed(lambda: asked.histories(batches), batches * site.readings)
    out = {"every": every, "skipping": skipping, "history": history, "same_answer": answer == short}
    return {**out, "bounds": _bounds(asked)}, answer


def _timed(ask: Callable[[], T], readings: int, *, runs: int = RUNS) -> tuple[dict[str, Any], T]:
    took, used = [], time.process_time()
    for _ in range(runs):
        began = time.perf_counter()
        answer = ask()
        took.append(time.perf_counter() - began)
    used = time.process_time() - used
    middle = statistics.median(took)
    return {
        "readings_per_s": round(readings / middle),
        "readings": readings,
        "seconds": [round(one, 3) for one in took],
        "readings_per_cpu_s": round(readings * runs / used),
        "cores_used": round(used / sum(took), 2),
    }, answer


def _bounds(asked: Asked) -> dict[str, Any]:
    """Processor nanoseconds a reading that each step takes in one thread, over the first batches."""
    spent = {"fetch": 0.0, "decode": 0.0, "decode_every_column": 0.0, "kernel": 0.0, "whole": 0.0}
    n = 0
    for _, leg in asked.legs[:BOUND_LEGS]:
        n += _one_bound(asked, leg, spent)
    return {f"{name}_ns_per_reading": round(seconds / n * 1e9, 2) for name, seconds in spent.items()}


def _one_bound(asked: Asked, leg: Leg, spent: dict[str, float]) -> int:
    (point,) = leg.points
    span, name, rules = point.spans[0], PointName.parse(point.point), asked.rules[point.point]
    low, high = span.from_ns // NS_PER_MS, span.to_ns // NS_PER_MS
    chunks = _clocked(spent, "fetch", lambda: asked.sections.pieces(name, low_ms=low, high_ms=high))
    parts = _clocked(spent, "decode", lambda: [unpack_samples(data) for data in chunks])
    _clocked(spent, "decode_every_column", lambda: [unpack(data) for data in chunks])
    run = LimitRun(rules[0].limit(), periods=((0, making.PERIOD_MS),), samples=1 << 30)
    _clocked(spent, "kernel", lambda: [run.feed(*part) for part in parts])
    found = asked.sections.sections(name, from_ns=span.from_ns, to_ns=span.to_ns, every=True)
    periods = ((0, making.PERIOD_MS * NS_PER_MS),)
    _clocked(spent, "whole", lambda: excursions_in(found, rules, periods=periods, skipping=False))
    return sum(len(part[0]) for part in parts)


def _clocked(spent: dict[str, float], name: str, call: Callable[[], T]) -> T:
    began = time.process_time()
    done = call()
    spent[name] += time.process_time() - began
    return done


def _theirs(connection: Any, asked: Asked, folder: Path, site: making.Made, answer: Answer) -> dict[str, Any]:
    _say("DuckDB")
    exported = peer.export(asked, folder / "parquet")
    ways, differing = {}, 0
    for way, legs, runs in (
        (peer.EVERY, min(PEER_EVERY_LEGS, site.batches), 1),
        (peer.CROSSING, site.batches, RUNS),
    ):
        asking = partial(peer.ask, connection, folder / "parquet", wanted=way, legs=legs)
        ways[way], rows = _timed(asking, legs * site.readings, runs=runs)
        differing += compare(asked, answer, rows, legs=legs)
    return {
        "version": peer.version(),
        "parquet": exported,
        "ways": ways,
        "equal": not differing,
        "differing": differing,
        "tolerance": f"times, peaks and samples exact, areas within {AREA_TOLERANCE:g} of each other",
    }


def compare(asked: Asked, answer: Answer, rows: list[tuple[Any, ...]], *, legs: int) -> int:
    """How many excursions of the first so many legs differ, or are found by one side only."""
    theirs: dict[str, list[tuple[Any, ...]]] = {}
    for leg, *rest in rows:
        theirs.setdefault(asked.legs[leg][0].id, []).append(tuple(rest))
    differing = 0
    for batch, _ in asked.legs[:legs]:
        found, other = answer[batch.id], theirs.get(batch.id, [])
        differing += abs(len(found) - len(other))
        differing += sum(not _same(one, row) for one, row in zip(found, other, strict=False))
    return differing


def _same(one: dict[str, Any], row: tuple[Any, ...]) -> bool:
    since, back, peak, area, samples = row
    if ns_of_text(one["from"]) // NS_PER_MS != since or one["cut"] != (back is None):
        return False
    if back is not None and ns_of_text(one["to"]) // NS_PER_MS != back:
        return False
    near = abs(one["area"] - area) <= AREA_TOLERANCE * max(1.0, abs(area))
    return bool(one["peak"] == peak and one["samples"] == samples and near)


def _say(what: str) -> None:
    print(f"bench judge: {what}", file=sys.stderr, flush=True)
