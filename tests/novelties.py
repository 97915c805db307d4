"""Detectors on request, run over a whole stream or over blocks of it, compiled or plain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.detect.novelty import hampel, left_profile

Values = NDArray[np.float64]


def blocks(values: Values, cuts: Sequence[int]) -> list[Values]:
    """The stream cut after these places."""
    return np.split(values, sorted({cut % (len(values) + 1) for cut in cuts}))


def hampel_scores(
    values: Values,
    window: int,
    floor: float,
    *,
    cuts: Sequence[int] = (),
    step: Callable[..., Any] = hampel.step,
) -> Values:
    state = hampel.fresh(1, window)
    out = []
    for block in blocks(values, cuts):
        scores = np.empty((len(block), 1))
        step(block[:, None], np.array([floor]), state.ring, state.ordered, state.places, scores)
        out.append(scores[:, 0])
    return np.concatenate(out)


def profile_scores(
    values: Values,
    piece: int,
    history: int,
    *,
    exclusion: int,
    cuts: Sequence[int] = (),
    step: Callable[..., Any] = left_profile.step,
) -> Values:
    state = left_profile.fresh(piece, history)
    out = []
    for block in blocks(values, cuts):
        scores = np.empty(len(block))
        step(block, piece, exclusion, *(getattr(state, name) for name in left_profile.NAMES), scores)
        out.append(scores)
    return np.concatenate(out)
