"""Any cutting of a stream into blocks gives the same bits; compiled or plain, the same bits too."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge.detect.novelty import hampel, left_profile
from tests.novelties import Values, hampel_scores, profile_scores

streams = arrays(
    np.float64,
    st.integers(1, 120),
    elements=st.one_of(st.just(np.nan), st.integers(-40, 40).map(lambda n: n / 8)),
)
cuttings = st.lists(st.integers(0, 1000), max_size=5)


@given(streams, cuttings)
@settings(deadline=None, max_examples=60)
def test_hampel_by_blocks(values: Values, cuts: list[int]) -> None:
    whole = hampel_scores(values, 7, 0.05)
    assert np.array_equal(whole, hampel_scores(values, 7, 0.05, cuts=cuts))
    assert np.array_equal(whole, hampel_scores(values, 7, 0.05, step=hampel.kernel()))


@given(streams, cuttings)
@settings(deadline=None, max_examples=60)
def test_left_profile_by_blocks(values: Values, cuts: list[int]) -> None:
    whole = profile_scores(values, 5, 30, exclusion=2)
    assert np.array_equal(whole, profile_scores(values, 5, 30, exclusion=2, cuts=cuts), equal_nan=True)
    fast = profile_scores(values, 5, 30, exclusion=2, step=left_profile.kernel())
    assert np.array_equal(whole, fast, equal_nan=True)
    rows = profile_scores(values, 5, 30, exclusion=2, step=left_profile.rowwise())
    assert np.array_equal(whole, rows, equal_nan=True)
