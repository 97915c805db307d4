"""Readiness: the sixteen checks of the gate over one batch, each pass, fail or indeterminate.

Owns what each check reads of a history. Pure. Indeterminate never passes; what is not built yet
answers so and says `not_built`. The gate recommends, a person signs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from collector.identity.times import ns_of_text
from collector.judge.findings.alarms import concerning, in_the_way

COVERAGE_MIN: Final = 0.95
"""Share of required slots that must be present (to be confirmed by QA)."""

Document = Mapping[str, Any]


class Result(StrEnum):
    """Of one check."""

    PASS = "pass"  # noqa: S105 - an answer
    FAIL = "fail"
    INDETERMINATE = "indeterminate"


class Purpose(StrEnum):
    """What the batch shall be ready for."""

    ACCEPT = "accept"
    PROCEED = "proceed"
    SHIP = "ship"
    RELEASE = "release"
    RECEIVE = "receive"
    INFUSE = "infuse"


@dataclass(frozen=True, slots=True)
class Check:
    """One answer with what it rests on."""

    id: str
    what: str
    result: Result
    evidence: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "id": self.id,
            "what": self.what,
            "result": self.result.value,
            "evidence": list(self.evidence),
        }


Answer = tuple[Result, Sequence[str]]
NOT_BUILT: Final[Answer] = (Result.INDETERMINATE, ("not_built",))


def _open(history: Document, kinds: Iterable[str]) -> list[str]:
    wanted = set(kinds)
    return [
        f"{one['id']} {one['kind']}"
        for one in history["exceptions"]
        if one["state"] == "open" and one["kind"] in wanted
    ]


def _failed_by(history: Document, *kinds: str) -> Answer | None:
    found = _open(history, kinds)
    return (Result.FAIL, found) if found else None


def _identity(history: Document) -> Answer:
    failed = _failed_by(
        history, "coi_mix", "conflict", "unreadable_label", "unknown_identity", "old_label", "unmatched_scan"
    )
    if failed:
        return failed
    batch = history["batch"]
    missing = [f"no {key} registered" for key in ("coi", "donations") if not batch.get(key)]
    if missing:
        return Result.INDETERMINATE, missing
    return Result.PASS, [f"coi {batch['coi']['scheme']} {batch['coi']['value']}", *batch["donations"]]


def _custody(history: Document) -> Answer:
    failed = _failed_by(history, "unplaced", "overlap", "custody_unknown")
    if failed:
        return failed
    if not history["custody"]["told"]:
        return Result.INDETERMINATE, ("nobody told of any hand-over: who had it is not known",)
    return Result.PASS, [
        f"{one['holder'] or one['state']} from {one['from'] or 'the beginning'}"
        for one in history["custody"]["chain"]
        if one["state"] != "unknown"
    ]


def _sensors(history: Document) -> Answer:
    failed = _failed_by(history, "no_sensor")
    if failed:
        return failed
    if not history["legs"]:
        return Result.FAIL, ("the batch was never placed anywhere",)
    if history["versions"].get("product_profile") is None:
        return Result.INDETERMINATE, ("no product profile says what is required",)
    unknown = [leg["equipment"] for leg in history["legs"] if leg.get("step") is None]
    if unknown:
        return Result.INDETERMINATE, [f"the profile has no step for {one}" for one in unknown]
    return Result.PASS, (history["versions"]["product_profile"],)


def _coverage(history: Document) -> Answer:
    failed = _failed_by(history, "gap", "loss")
    coverage = history["coverage"]
    said = f"{coverage['present']} of {coverage['slots'] - coverage['not_required']} required slots"
    if failed:
        return failed
    if coverage["ratio"] is None:
        return Result.FAIL, ("no slot was required: nothing watched this batch",)
    if coverage.get("not_kept"):
        return Result.INDETERMINATE, (f"{coverage['not_kept']} slots are not kept any more", said)
    if coverage["late_pending"]:
        return Result.INDETERMINATE, (f"{coverage['late_pending']} slots are late-pending", said)
    return (Result.PASS if coverage["ratio"] >= COVERAGE_MIN else Result.FAIL), (said,)


def _excursions(history: Document) -> Answer:
    failed = _failed_by(history, "excursion", "out_of_profile")
    if failed:
        return failed
    if not history["legs"]:
        return Result.INDETERMINATE, ("it was never placed: nothing was looked at",)
    if not history["versions"]["rules"] and history["versions"].get("product_profile") is None:
        return Result.INDETERMINATE, ("no limit binds any of its points",)
    if history.get("not_kept"):
        return Result.INDETERMINATE, [
            f"not kept: {one['point']} from {one['from']} to {one['to']}" for one in history["not_kept"]
        ]
    return Result.PASS, (f"{len(history['excursions'])} excursions, each resolved",)


def _budgets(history: Document) -> Answer:
    failed = _failed_by(history, "open_too_long", "overdue")
    if failed:
        return failed
    overdrawn = [f"{one['id']}: {fault}" for one in history["budgets"] for fault in one["faults"]]
    if overdrawn:
        return Result.FAIL, overdrawn
    if history["versions"].get("product_profile") is None:
        return Result.INDETERMINATE, ("no product profile says what may be drawn",)
    return Result.PASS, [f"{one['id']}: {one['remaining_s']:g} s remain" for one in history["budgets"]]


def _calibration(history: Document) -> Answer:
    failed = _failed_by(history, "calibration_oot", "cal_expired")
    if failed:
        return failed
    required = [
        (point["point"], point.get("calibration"))
        for leg in history["legs"]
        for point in leg["points"]
        if point.get("required") is not False
    ]
    if not required:
        return Result.INDETERMINATE, ("no sensor was linked",)
    without = [
        f"{name}: {'no instrument is linked' if found is None else found['state']}"
        for name, found in required
        if found is None or found["state"] != "in_calibration"
    ]
    waiting = [
        f"provisional: {one}" for _, found in required if found is not None for one in found["provisional"]
    ]
    if without or waiting:
        return Result.INDETERMINATE, [*dict.fromkeys([*without, *waiting])]
    return Result.PASS, [
        *dict.fromkeys(one for _, found in required if found for one in found["certificates"])
    ]


def _clocks(history: Document) -> Answer:
    failed = _failed_by(history, "clock_step", "clock_ahead")
    if failed:
        return failed
    clocks = history["clocks"]
    if not clocks:
        return Result.INDETERMINATE, ("no gateway told of this batch",)
    beyond = [
        f"{one['node']}: ± {one['bound_s']:g} s, allowed is {one['bound_s_max']:g} s"
        for one in clocks
        if one["bound_s"] is not None and one["bound_s"] > one["bound_s_max"]
    ]
    if beyond:
        return Result.FAIL, beyond
    unknown = [
        f"{one['node']}: {'not synchronised, or its bound unknown' if one['said'] else 'said nothing'}"
        for one in clocks
        if one["bound_s"] is None
    ]
    if unknown:
        return Result.INDETERMINATE, unknown
    return Result.PASS, [f"{one['node']}: ± {one['bound_s']:g} s" for one in clocks]


def _second_person(history: Document) -> Answer:
    failed = _failed_by(history, "late_scan")
    if failed:
        return failed
    waiting = [
        f"provisional: {', '.join(one['links'])}"
        for leg in history["legs"]
        for one in (leg, *leg["points"])
        if one["state"] == "provisional"
    ]
    return (Result.FAIL, sorted(set(waiting))) if waiting else (Result.PASS, ())


def _versions(history: Document) -> Answer:
    failed = _failed_by(history, "limits_differ")
    return failed or (Result.INDETERMINATE, (*history["versions"]["rules"], "approval: not_built"))


def _ledger(history: Document) -> Answer:
    return (
        _failed_by(history, "fork", "rolled_back", "ledger_cut", "journal_cut", "duplicate_node") or NOT_BUILT
    )


def _alarms(history: Document) -> Answer:
    if "alarms" not in history:
        return NOT_BUILT
    found = concerning(history, history["alarms"])
    bad = in_the_way(found, known_ns=ns_of_text(history["known"]["time"]))
    return (Result.FAIL, bad) if bad else (Result.PASS, [f"{one['id']} {one['state']}" for one in found])


def _reviews(history: Document) -> list[Document]:
    record = history.get("record") or {"signatures": ()}
    return [one for one in record["signatures"] if one["standing"] and one["meaning"] == "review"]


def _unchanged(history: Document) -> Answer:
    reviews = _reviews(history)
    if not reviews:
        return Result.INDETERMINATE, ("no review is signed",)
    [last] = reviews
    if last["changed"]:
        return Result.FAIL, [f"changed since {last['id']} of {last['position']}", *last["changed"]]
    return Result.PASS, [f"{last['id']} of {last['position']}, {last['sha256']}"]


def _reviewer(history: Document) -> Answer:
    reviews = _reviews(history)
    if not reviews:
        return Result.INDETERMINATE, ("no review is signed",)
    both = sorted({one["user"] for one in reviews} & set(history["record"]["performers"]))
    if both:
        return Result.FAIL, [f"{name} reviewed what they performed" for name in both]
    return Result.PASS, [f"reviewed by {one['user']}" for one in reviews]


def _not_built(_history: Document) -> Answer:
    return NOT_BUILT


CHECKS: Final[tuple[tuple[str, str, Callable[[Document], Answer]], ...]] = (
    ("G1", "one chain of identity, its donations known, no identity in doubt", _identity),
    ("G2", "unbroken custody", _custody),
    ("G3", "every required parameter had a sensor", _sensors),
    ("G4", "coverage", _coverage),
    ("G5", "no excursion unresolved", _excursions),
    ("G6", "budgets kept, clocks not over", _budgets),
    ("G7", "sensors in calibration", _calibration),
    ("G8", "clocks within their bound", _clocks),
    ("G9", "manual and late statements confirmed by a second person", _second_person),
    ("G10", "alarms acknowledged, none shelved or stale", _alarms),
    ("G11", "rules and profile approved and in force", _versions),
    ("G12", "the originals verify", _ledger),
    ("G13", "deviations closed at every site", _not_built),
    ("G14", "nothing changed since the last review", _unchanged),
    ("G15", "shipper requalified, hold time with margin", _not_built),
    ("G16", "the reviewer is not the performer", _reviewer),
)


def readiness(history: Document, purpose: Purpose) -> dict[str, Any]:
    """The readiness document of a batch, from its history at the same position.

    Every purpose asks all sixteen checks until profiles say otherwise.
    """
    checks = []
    for check_id, what, ask in CHECKS:
        result, evidence = ask(history)
        checks.append(Check(check_id, what, result, tuple(evidence)))
    results = {one.result for one in checks}
    verdict = "not_ready" if Result.FAIL in results else "indeterminate"
    if results == {Result.PASS}:
        verdict = "ready"
    return {
        "batch": history["batch"]["id"],
        "for": purpose.value,
        "known": history["known"],
        "versions": history["versions"],
        "verdict": verdict,
        "checks": [one.document() for one in checks],
    }
