"""Calibration by its published vector and by plain arithmetic beside it: corrections, windows, impacts.

And how often a journey is recorded (EN 12830).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.identity.stated.certificates import Certificate, CertificateVersion
from collector.identity.times import Span
from collector.judge.findings.sampling import interval_max_s
from collector.judge.instruments.calibration import correction_of, extrapolated
from collector.judge.instruments.suspect import Limit, Suspect, assess, suspects, worst_of
from collector.judge.metrology import Impact, corrected, impact
from tests.unit.identity_site import columns

HOUR = 3600 * 10**9
LIMIT = Limit(ref="rule:r@1", low=None, high=8.0)


def certificate(at: int, *points: tuple[float, float, float], tolerance: float = 0.5) -> Certificate:
    """(reference, as found, as left); due a year later."""
    body: dict[str, Any] = {
        "instrument": "instrument:T-1",
        "number": f"C-{at}",
        "calibrated_ns": at * HOUR,
        "due_ns": (at + 8760) * HOUR,
        "tolerance": tolerance,
        "adjusted": True,
        "points": [
            {"reference": ref, "as_found": found, "as_left": left, "u": 0.1, "k": 2}
            for ref, found, left in points
        ],
    }
    version = CertificateVersion(number=1, body=body, actor="lab", reason="", known_ns=0)
    return Certificate(id=f"certificate:{at}", versions=(version,))


def test_the_published_vector_a_unit_that_reads_low_and_a_limit_of_eight() -> None:
    """7.4 may have been 8.3; half way of an even drift it was 7.85, which is information only."""
    good, found = certificate(0, (8, 8, 8)), certificate(20, (8, 7.1, 8))
    (suspect,) = suspects([good, found])
    assert (suspect.from_ns, suspect.to_ns) == (0, 20 * HOUR)
    held = columns([(10 * HOUR, 7.4, "")])
    (judged,) = assess(held, held, Span(0, 20 * HOUR), suspect, [LIMIT], period_ns=HOUR)
    assert judged.impact is Impact.POSSIBLE
    assert judged.worst == pytest.approx(8.3)
    assert judged.mid_drift == pytest.approx(7.85)
    verdict, worst = impact(7.4, 7.4, low=None, high=8.0, error=-0.9)
    assert (verdict, round(worst, 9)) == (Impact.POSSIBLE, 8.3)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (8.1, Impact.CONFIRMED),
        (8.0, Impact.POSSIBLE),
        (7.11, Impact.POSSIBLE),
        (7.0, Impact.CLEARED_BY_MARGIN),
    ],
)
def test_under_all_errors_under_some_under_none(value: float, expected: Impact) -> None:
    suspect = Suspect(certificate(20, (8, 7.1, 8)), certificate(0, (8, 8, 8)))
    held = columns([(HOUR, value, ""), (2 * HOUR, value, "")])
    found = assess(held, held, Span(0, 20 * HOUR), suspect, [LIMIT], period_ns=HOUR)
    assert worst_of(found) is expected


def test_an_error_that_was_corrected_already_is_no_error() -> None:
    """It was left 0.4 low and is found 0.9 low: only 0.5 of it was unknown."""
    suspect = Suspect(certificate(20, (8, 7.1, 8)), certificate(0, (8, 8, 7.6)))
    assert suspect.error(np.array([7.4])).tolist() == pytest.approx([-0.5])


def test_the_window_begins_at_the_last_calibration_that_left_it_good() -> None:
    first, bad = certificate(0, (8, 8, 8)), certificate(5, (8, 7.1, 7.1))
    again = certificate(9, (8, 7.0, 8))
    windows = [(one.from_ns, one.to_ns) for one in suspects([first, bad, again])]
    assert windows == [(0, 5 * HOUR), (0, 9 * HOUR)]
    assert suspects([bad])[0].from_ns is None


@pytest.mark.parametrize(
    ("planned_h", "minutes"), [(1, 5), (23.99, 5), (24, 15), (72, 15), (168, 15), (168.1, 60), (1000, 60)]
)
def test_how_often_a_journey_of_that_length_is_recorded(planned_h: float, minutes: float) -> None:
    assert interval_max_s(planned_h * 3600) == minutes * 60


@given(
    st.lists(
        st.tuples(st.floats(-50, 50), st.floats(-2, 2)), min_size=1, max_size=6, unique_by=lambda one: one[0]
    ),
    st.floats(-80, 80),
)
def test_corrections_in_columns_are_those_of_one_reading(
    points: list[tuple[float, float]], value: float
) -> None:
    """(reading as left, error): raw plus c(T), interpolated, clamped outside and counted there."""
    made = certificate(0, *((left - error, left, left) for left, error in points))
    plain, beyond = corrected(value, [(one.as_left, one.reference - one.as_left) for one in made.points])
    array = np.array([value])
    assert value + correction_of(made, array)[0] == pytest.approx(plain)
    assert extrapolated(made, array) == int(beyond)


@given(st.floats(0, 12), st.floats(-2, 2))
def test_a_verdict_is_that_of_trying_every_error(value: float, error: float) -> None:
    suspect = Suspect(certificate(20, (8, 8 + error, 8), tolerance=0.01), certificate(0, (8, 8, 8)))
    held = columns([(HOUR, value, "")])
    found = worst_of(assess(held, held, Span(0, 20 * HOUR), suspect, [LIMIT], period_ns=HOUR))
    tried = [value - part * error > 8.0 for part in (0.0, 1.0)]
    expected = Impact.CONFIRMED if all(tried) else Impact.POSSIBLE if any(tried) else Impact.CLEARED_BY_MARGIN
    assert found is expected
