"""The simulated equipment: within bounds, the same for any chunking, and conserving what it must."""

from __future__ import annotations

import numpy as np
import pytest

from edge.sim import noise, physics
from edge.sim.plant import MODELS, Columns, Hooks, Interval, Plant

DAY_S = 86_400
ORIGIN_S = 1_767_600_000

BOUNDS = {
    ("bioreactor", "temperature"): (36.5, 37.2),
    ("bioreactor", "ph"): (7.0, 7.2),
    ("bioreactor", "dissolved_oxygen"): (40.0, 60.0),
    ("bioreactor", "heater_power"): (0.0, 100.0),
    ("incubator", "temperature"): (30.0, 38.0),
    ("incubator", "co2"): (1.0, 5.2),
    ("freezer", "temperature"): (-23.0, -8.0),
    ("freezer", "product_temperature"): (-21.0, -18.5),
    ("shipper", "temperature"): (-191.0, -186.0),
}


def plant(kind: str, *, hooks: Hooks = Hooks(), seed: int = 7) -> Plant:  # noqa: B008 - frozen
    return Plant(kind, MODELS[kind], seed, ORIGIN_S, hooks)


def day(kind: str, *, hooks: Hooks = Hooks(), seconds: int = DAY_S) -> Columns:  # noqa: B008 - frozen
    return plant(kind, hooks=hooks).run(seconds // 10, every_s=10)


@pytest.mark.parametrize(("kind", "name"), list(BOUNDS))
def test_a_quiet_week_stays_within_bounds(kind: str, name: str) -> None:
    low, high = BOUNDS[kind, name]
    values = day(kind, seconds=7 * DAY_S).values[name]
    assert low < values.min(), values.min()
    assert values.max() < high, values.max()


@pytest.mark.parametrize("kind", list(MODELS))
def test_any_chunking_gives_the_same_numbers(kind: str) -> None:
    hooks = Hooks(door=(Interval(500, 900),)) if kind != "shipper" else Hooks(leak=(Interval(500, 2000, 30),))
    whole = plant(kind, hooks=hooks).run(7200)
    parts = plant(kind, hooks=hooks)
    pieces = [parts.run(rows) for rows in (1, 2, 497, 1500, 5200)]
    for name in MODELS[kind].columns:
        joined = np.concatenate([piece.values[name] for piece in pieces])
        np.testing.assert_array_equal(joined, whole.values[name])
    assert parts.second == 7200
    skipped = plant(kind, hooks=hooks)
    skipped.skip(7200)
    np.testing.assert_array_equal(skipped.state, parts.state)


def test_the_seed_decides_the_noise_and_nothing_else_does() -> None:
    one, same = plant("freezer").run(500), plant("freezer").run(500)
    other = plant("freezer", seed=8).run(500)
    np.testing.assert_array_equal(one.values["temperature"], same.values["temperature"])
    assert not np.array_equal(one.values["temperature"], other.values["temperature"])


def test_noise_is_white_and_streams_are_independent() -> None:
    index = np.arange(200_000, dtype=np.int64)
    one, two = noise.normal(7, 3, index), noise.normal(7, 4, index)
    assert abs(one.mean()) < 0.01
    assert abs(one.std() - 1.0) < 0.01
    for lag in range(-3, 4):
        assert abs(np.corrcoef(one[10:-10], np.roll(two, lag)[10:-10])[0, 1]) < 0.01
    assert abs(np.corrcoef(one[:-1], one[1:])[0, 1]) < 0.01


def test_the_kernels_give_the_same_as_plain_python() -> None:
    for kernel, start, width, inputs in (
        (physics.bioreactor, physics.bioreactor_start, len(physics.BIOREACTOR_COLUMNS), 1),
        (physics.incubator, physics.incubator_start, len(physics.INCUBATOR_COLUMNS), 1),
        (physics.freezer, physics.freezer_start, len(physics.FREEZER_COLUMNS), 1),
        (physics.shipper, physics.shipper_start, len(physics.SHIPPER_COLUMNS), 4),
    ):
        drive = np.zeros((600, inputs), np.uint8)
        drive[100:200, 0] = 1
        fast, slow = np.empty((60, width)), np.empty((60, width))
        kernel(start(), drive, 1000.0, 10, fast)
        getattr(kernel, "py_func", kernel)(start(), drive, 1000.0, 10, slow)
        np.testing.assert_allclose(fast, slow, rtol=1e-12, atol=1e-12)


def test_the_vessel_is_held_by_as_much_heat_as_it_loses() -> None:
    """In the steady state heater + cells + stirrer = losses of vessel and jacket to the room."""
    run = Plant("q", MODELS["bioreactor"], 1, 0).run(18_000 // 10, every_s=10)
    tail = slice(1000, 1799)  # 10,000 s to 17,990 s: between two feeds
    mean = {name: float(values[tail].mean()) for name, values in run.values.items()}
    room = 21.0 + 0.8 * float(np.sin((run.second[tail] + 0.0) * 7.2722e-5).mean())
    gain = mean["heater_power"] * 1.2 + 0.06 * mean["viable_cells"] + 2e-7 * mean["agitation"] ** 3
    loss = (mean["temperature"] - room) + 0.5 * (mean["jacket_temperature"] - room)
    assert gain == pytest.approx(loss, rel=0.01)


def test_a_door_left_open_is_over_the_limit_and_defrosts_are_not_for_ten_minutes() -> None:
    usual = day("freezer", seconds=30 * DAY_S)
    assert longest_above(usual, -15.0) < 600
    assert longest_above(usual, -15.0) > 200, "a defrost is seen"
    hooks = Hooks(door=(Interval(40_000, 41_200),))
    run = day("freezer", hooks=hooks)
    assert longest_above(run, -15.0) > 1000
    during = (run.second >= 40_000) & (run.second < 41_200)
    assert run.values["temperature"][during].max() - run.values["temperature"][during].min() > 12
    assert run.values["product_temperature"][during].max() < -17, "the load lags the air"
    assert run.values["door"][during].all()


def test_a_leaking_shipper_warms_through_its_limit_and_is_topped_up() -> None:
    hooks = Hooks(leak=(Interval(60_000, 67_000, 333),))
    run = day("shipper", hooks=hooks)
    temperature = run.values["temperature"]
    assert temperature[run.second < 60_000].max() < -189
    assert -150 < temperature.max() < -120
    assert temperature[run.second > 69_000].max() < -185


def longest_above(run: Columns, limit: float) -> int:
    """Seconds of the longest run of readings above the limit."""
    longest = current = 0
    for above in run.values["temperature"] > limit:
        current = current + 10 if above else 0
        longest = max(longest, current)
    return longest
