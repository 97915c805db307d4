"""The gate: each check can fail, indeterminate never passes, and only sixteen passes are ready."""

from __future__ import annotations

from typing import Any

import pytest

from collector.judge import readiness as gate
from collector.judge.readiness import CHECKS, Purpose, Result, readiness

KNOWN = {"ledger": 1, "journal": 1, "token": "L1.J1", "time": "2026-10-04T00:00:00.000Z"}


def history(**more: Any) -> dict[str, Any]:
    leg = {
        "equipment": "equipment:E",
        "state": "confirmed",
        "links": ["link:1"],
        "step": "cold",
        "points": [],
    }
    whole = {
        "batch": {
            "id": "batch:x/B",
            "coi": {"scheme": "own", "value": "COI-1"},
            "donations": ["G123498654321"],
        },
        "known": KNOWN,
        "versions": {"software": "x", "rules": ["rule:r@1"], "product_profile": "product-profile:p@1"},
        "legs": [leg],
        "coverage": {"slots": 100, "present": 99, "late_pending": 0, "not_required": 0, "ratio": 0.99},
        "excursions": [],
        "budgets": [{"id": "b", "faults": [], "remaining_s": 10.0}],
        "exceptions": [],
        "clocks": [{"node": "g/n", "said": True, "bound_s": 0.004, "bound_s_max": 1.0}],
        "custody": {"told": True, "chain": [{"state": "held", "holder": "lab", "from": None, "to": None}]},
    }
    return {**whole, **more}


def results(document: dict[str, Any]) -> dict[str, str]:
    return {one["id"]: one["result"] for one in readiness(document, Purpose.SHIP)["checks"]}


def told(kind: str, state: str = "open") -> dict[str, Any]:
    return {"exceptions": [{"id": "exception:1", "kind": kind, "state": state}]}


def test_what_exists_passes_and_the_rest_is_indeterminate_so_nothing_is_ready() -> None:
    document = readiness(history(), Purpose.RELEASE)
    assert document["verdict"] == "indeterminate"
    assert [one["id"] for one in document["checks"]] == [f"G{n}" for n in range(1, 17)]
    found = results(history())
    assert [name for name, result in found.items() if result == "pass"] == [
        "G1",
        "G2",
        "G3",
        "G4",
        "G5",
        "G6",
        "G8",
        "G9",
    ]
    unbuilt = [one["id"] for one in document["checks"] if one["evidence"] == ["not_built"]]
    assert unbuilt == ["G10", "G12", "G13", "G15"]


def test_only_sixteen_passes_are_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    passing = tuple((name, what, lambda _history: (Result.PASS, ())) for name, what, _ in CHECKS)
    monkeypatch.setattr(gate, "CHECKS", passing)
    assert readiness(history(), Purpose.RELEASE)["verdict"] == "ready"
    one_open = (*passing[:-1], ("G16", "x", lambda _history: (Result.INDETERMINATE, ())))
    monkeypatch.setattr(gate, "CHECKS", one_open)
    assert readiness(history(), Purpose.RELEASE)["verdict"] == "indeterminate"


@pytest.mark.parametrize(
    ("check", "more"),
    [
        ("G1", told("coi_mix")),
        ("G1", told("conflict")),
        ("G1", told("unreadable_label")),
        ("G2", told("unplaced")),
        ("G2", told("custody_unknown")),
        ("G3", told("no_sensor")),
        ("G3", {"legs": []}),
        ("G4", told("gap")),
        ("G4", {"coverage": {"slots": 0, "present": 0, "late_pending": 0, "not_required": 0, "ratio": None}}),
        ("G4", {"coverage": {"slots": 9, "present": 5, "late_pending": 0, "not_required": 0, "ratio": 0.5}}),
        ("G5", told("excursion")),
        ("G5", told("out_of_profile")),
        ("G6", {"budgets": [{"id": "b", "faults": ["too much"], "remaining_s": -1.0}]}),
        ("G6", told("open_too_long")),
        ("G6", told("overdue")),
        ("G7", told("calibration_oot")),
        ("G7", told("cal_expired")),
        ("G8", told("clock_step")),
        ("G8", {"clocks": [{"node": "g/n", "said": True, "bound_s": 2.0, "bound_s_max": 1.0}]}),
        ("G9", told("late_scan")),
        ("G11", told("limits_differ")),
        ("G12", told("fork")),
    ],
)
def test_each_check_that_is_built_can_fail(check: str, more: dict[str, Any]) -> None:
    document = history(**more)
    assert results(document)[check] == "fail"
    assert readiness(document, Purpose.RELEASE)["verdict"] == "not_ready"


@pytest.mark.parametrize(
    ("check", "more"),
    [
        ("G1", {"batch": {"id": "b", "coi": None}}),
        ("G2", {"custody": {"told": False, "chain": []}}),
        ("G8", {"clocks": []}),
        ("G8", {"clocks": [{"node": "g/n", "said": True, "bound_s": None, "bound_s_max": 1.0}]}),
        ("G3", {"versions": {"software": "x", "rules": [], "product_profile": None}}),
        ("G4", {"coverage": {"slots": 9, "present": 8, "late_pending": 1, "not_required": 0, "ratio": 0.9}}),
        (
            "G4",
            {
                "coverage": {
                    "slots": 100,
                    "present": 96,
                    "late_pending": 0,
                    "not_required": 0,
                    "ratio": 0.96,
                    "not_kept": 4,
                }
            },
        ),
        ("G5", {"versions": {"software": "x", "rules": [], "product_profile": None}}),
        ("G5", {"legs": []}),
        ("G5", {"not_kept": [{"point": "p", "from": "a", "to": "b"}]}),
        ("G6", {"versions": {"software": "x", "rules": [], "product_profile": None}}),
    ],
)
def test_what_nobody_said_is_indeterminate(check: str, more: dict[str, Any]) -> None:
    assert results(history(**more))[check] == "indeterminate"


@pytest.mark.parametrize(
    ("calibration", "required", "result"),
    [
        ({"state": "in_calibration", "certificates": ["certificate:1"], "provisional": []}, True, "pass"),
        ({"state": "in_calibration", "certificates": ["c"], "provisional": ["c"]}, True, "indeterminate"),
        ({"state": "uncalibrated", "certificates": [], "provisional": []}, True, "indeterminate"),
        (None, True, "indeterminate"),
        (None, False, "indeterminate"),
    ],
)
def test_calibration_is_shown_by_a_certificate_that_two_persons_saw(
    calibration: dict[str, Any] | None, required: bool, result: str
) -> None:
    point = {
        "point": "g/n/d/t",
        "state": "confirmed",
        "links": [],
        "required": required,
        "calibration": calibration,
    }
    leg = {**history()["legs"][0], "points": [point]}
    assert results(history(legs=[leg]))["G7"] == result


def test_a_provisional_point_waits_for_a_second_person_and_a_resolved_exception_fails_nothing() -> None:
    point = {"point": "g/n/d/t", "state": "provisional", "links": ["link:7"]}
    leg = {**history()["legs"][0], "points": [point]}
    (check,) = [one for one in readiness(history(legs=[leg]), Purpose.RELEASE)["checks"] if one["id"] == "G9"]
    assert (check["result"], check["evidence"]) == ("fail", ["provisional: link:7"])
    assert results(history(**told("excursion", "resolved")))["G5"] == "pass"


LEG_POINT = {"point": "g/n/d/t", "state": "confirmed", "links": []}
FROM, TO = "2026-10-03T00:00:00.000Z", "2026-10-03T12:00:00.000Z"


def alarm(**more: Any) -> dict[str, Any]:
    held = {"from": "2026-10-03T06:00:00.000Z", "known": "2026-10-03T06:00:01.000Z", "to": None}
    whole = {
        "id": "alarm:r/high",
        "subject": "point:g/n/d/t",
        "state": "acked",
        "activation": held,
        "unacked": False,
        "unacked_from": None,
        "active": False,
        "shelf": None,
        "work_order": None,
    }
    return {**whole, **more}


def with_alarms(*alarms: dict[str, Any]) -> dict[str, str]:
    leg = {**history()["legs"][0], "from": FROM, "to": TO, "points": [LEG_POINT]}
    return results(history(legs=[leg], alarms=list(alarms)))


@pytest.mark.parametrize(
    ("found", "result"),
    [
        ({}, "pass"),
        ({"unacked": True, "unacked_from": "2026-10-03T06:00:00.000Z"}, "fail"),
        ({"unacked": True, "unacked_from": "2026-10-03T13:00:00.000Z"}, "pass"),
        ({"unacked": True, "subject": "node:g/n"}, "fail"),
        ({"unacked": True, "subject": "device:g/n/other"}, "pass"),
        ({"shelf": {"since": FROM, "until": "2026-10-05T00:00:00.000Z"}}, "fail"),
        ({"shelf": {"since": TO, "until": "2026-10-05T00:00:00.000Z"}, "activation": None}, "pass"),
        ({"active": True}, "pass"),
        ({"active": True, "activation": {"from": FROM, "known": "2026-10-02T23:00:00Z", "to": None}}, "fail"),
        ({"work_order": "WO-1"}, "fail"),
    ],
)
def test_alarms_that_concern_the_batch_are_done_with(found: dict[str, Any], result: str) -> None:
    assert with_alarms(alarm(**found))["G10"] == result


def review(**more: Any) -> dict[str, Any]:
    whole = {"id": "signature:9", "meaning": "review", "user": "quinn", "standing": True, "changed": []}
    return {**whole, "position": "L1.J1", "sha256": "00", **more}


@pytest.mark.parametrize(
    ("signatures", "unchanged", "reviewer"),
    [
        ([], "indeterminate", "indeterminate"),
        ([review(meaning="release")], "indeterminate", "indeterminate"),
        ([review(standing=False)], "indeterminate", "indeterminate"),
        ([review()], "pass", "pass"),
        ([review(changed=["coverage.missing: 1 is now 0"])], "fail", "pass"),
        ([review(user="anna")], "pass", "fail"),
    ],
)
def test_the_last_review_holds_and_is_another_person_s(
    signatures: list[dict[str, Any]], unchanged: str, reviewer: str
) -> None:
    record = {"state": "signed", "performers": ["anna", "bert"], "signatures": signatures}
    found = results(history(record=record))
    assert (found["G14"], found["G16"]) == (unchanged, reviewer)
