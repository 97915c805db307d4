"""The kernel of the tests on every point against a slow, obvious twin: one sample, plain branches."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from edge.detect import kernel
from edge.detect.hot import Checks, Engine, HotSet, compiled
from edge.detect.port import Channel
from gateway.rules.jit import Mode, compile_kernels
from tests.outboxes import ROOT

CHECKS = Checks(
    low=-30, high=60, rate_per_s=2.0, learn_samples=50, learn_h=0.2, drift_learn_h=0.3, fast_s=100,
    slow_h=0.5, drift_h=2, relearn_h=1, jump=3, drift_min=0.05,
)  # fmt: skip
PERIOD_MS = 5_000


@dataclass
class Naive:
    """What a person would write down."""

    xs: list[float] = field(default_factory=list)
    t: float | None = None
    first: float = 0.0
    rests: list[int] = field(default_factory=list)
    rest: int = 1
    steps: list[float] = field(default_factory=list)
    fast: float = 0.0
    slow: float = 0.0
    scale: float = 0.0
    up: float = 0.0
    down: float = 0.0
    since: float = 0.0
    drift: int = 0
    misses: int = 0
    coded: bool = False

    def see(self, t: float, x: float | None) -> set[str]:
        """One sample in time order."""
        said = set()
        p = CHECKS
        dt = 0.0 if self.t is None else t - self.t
        if self.t is None:
            self.first = t
        gap = len(self.xs) >= 3 and dt > p.gap_periods * PERIOD_MS
        if gap:
            said.add("gap")
        self.t = t
        learned = len(self.xs) >= p.learn_samples and t - self.first >= p.learn_h * 3.6e6
        is_code = x in p.codes and (not self.xs or abs(x - self.xs[-1]) > 5 or self.coded)
        if is_code:
            self.coded, self.misses = True, 0
            return said | {"sensor_fault"} | self._drifting()
        if x is None:
            self.misses, self.coded = self.misses + 1, False
            return said | ({"no_value"} if self.misses >= 3 and self.xs else set()) | self._drifting()
        self.misses, self.coded = 0, False
        if not p.low <= x <= p.high:
            said.add("range")
        last = self.xs[-1] if self.xs else None
        dx = 0.0 if last is None else abs(x - last)
        if dx > 0:
            grain = min(self.steps) if self.steps else dx
            near = dt <= p.gap_periods * PERIOD_MS
            record = max((s for s in self.near_steps), default=0.0)
            bar = max(p.jump * record, 4 * min(grain, dx))
            if (near and learned and record > 0 and dx > bar) or dx * 1000 > p.rate_per_s * dt:
                said.add("jump")
            self.steps.append(dx)
            if near:
                self.near_steps.append(dx)
        if last is not None:
            if dx > 0:
                self.rests.append(self.rest)
                self.rest = 1
            else:
                self.rest += 1
        longest = max(self.rests, default=0)
        inside = bool(self.xs) and min(self.xs) < x < max(self.xs)
        if learned and len(self.rests) >= 30 and self.rest > max(40, p.flat_runs * longest) and inside:
            said.add("flatline")
        self._follow(t, dt, x, armed=learned and t - self.first >= p.drift_learn_h * 3.6e6)
        self.xs.append(x)
        return said | self._drifting()

    near_steps: list[float] = field(default_factory=list)

    def _drifting(self) -> set[str]:
        return {"drift_up"} if self.drift > 0 else {"drift_down"} if self.drift < 0 else set()

    def _follow(self, t: float, dt: float, x: float, *, armed: bool) -> None:
        p = CHECKS
        if not self.xs:
            self.fast = self.slow = x
            self.since = t
            return
        lag = min(dt, 10.0 * PERIOD_MS)
        tau, long = max(p.fast_s * 1000, 20.0 * PERIOD_MS), max(p.slow_h * 3.6e6, 300.0 * PERIOD_MS)
        share = lag / (tau + lag)
        slowly = max(lag / (long + lag), 1 / (len(self.xs) + 1))
        self.fast += share * (x - self.fast)
        off = self.fast - self.slow
        grain = min(self.steps) if self.steps else 0.0
        unit = max(1.25 * self.scale + 0.5 * grain, p.drift_min / p.drift_k)
        z = min(6.0, max(-6.0, off / unit))
        if self.up + self.down <= 0:
            self.since = t
        weight = share if armed else 0.0
        self.up = min(2 * p.drift_h, max(0.0, self.up + (z - p.drift_k) * weight))
        self.down = min(2 * p.drift_h, max(0.0, self.down + (-z - p.drift_k) * weight))
        rise = self.up > p.drift_h or (self.drift > 0 and 2 * self.up > p.drift_h)
        fall = self.down > p.drift_h or (self.drift < 0 and 2 * self.down > p.drift_h)
        anew = (rise or fall) and t - self.since > p.relearn_h * 3.6e6
        calm = not armed or (abs(z) < p.drift_k + 1 and not rise and not fall)
        if anew:
            self.slow, self.up, self.down, self.drift = self.fast, 0.0, 0.0, 0
        else:
            self.drift = 1 if rise else -1 if fall else 0
            if calm:
                self.slow += slowly * off
        if calm:
            self.scale += slowly * (abs(off) - self.scale)


def log(seed: int, n: int = 1500) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    time_ms = 1.7e12 + np.cumsum(draw.integers(4_500, 5_500, n)).astype(float)
    time_ms[n // 3 :] += 120_000
    value = np.round(20 + 0.1 * draw.standard_normal(n), 2)
    value[900:1000] += np.round(np.linspace(0, 3, 100), 2)
    value[1000:1200] += 3.0
    value[1210:1290] = 21.07
    value[draw.integers(300, n, 3)] += 5.0
    value[draw.integers(300, n, 2)] = 85.0
    value[700:702] = -127.0
    value[draw.integers(300, n, 2)] = 70.0
    kind = np.where(draw.random(n) < 0.02, 2, 1).astype(np.uint8)
    kind[400:410] = 2
    return time_ms, value, kind


NAMES = {
    1: "range", 2: "sensor_fault", 4: "no_value", 8: "flatline", 16: "drift_up", 32: "drift_down", 64: "jump",
    128: "gap",
}  # fmt: skip


@pytest.mark.parametrize("engine", [Engine.NUMPY, Engine.NUMBA])
@pytest.mark.parametrize("seed", range(4))
def test_the_kernel_says_what_the_twin_says(seed: int, engine: Engine) -> None:
    time_ms, value, kind = log(seed)
    hot = HotSet([Channel(point="D/p", period_ms=PERIOD_MS)], [CHECKS], engine=engine)
    flags, score = hot.step(time_ms[:, None], kind[:, None], value[:, None])
    twin = Naive()
    seen: set[str] = set()
    for i in range(len(time_ms)):
        expected = twin.see(time_ms[i], float(value[i]) if kind[i] == 1 else None)
        said = {name for bit, name in NAMES.items() if int(flags[i, 0]) & bit}
        assert said == expected, i
        seen |= said
    assert seen >= {"range", "sensor_fault", "no_value", "flatline", "drift_up", "jump", "gap"}
    for name in ("fast", "slow", "scale", "up", "down"):
        assert math.isclose(hot.field(name, 0), getattr(twin, name), rel_tol=1e-9, abs_tol=1e-9), name
    assert ((score >= 0) & (score <= 1)).all()


def test_the_source_run_as_plain_python_is_equal_to_the_bit() -> None:
    """What coverage sees, and what runs where numba is told not to compile (NUMBA_DISABLE_JIT)."""
    time_ms, value, kind = (part[:120] for part in log(9))
    kinds, times, values = (np.zeros((120, kernel.LANES), t) for t in (np.uint8, float, float))
    kinds[:, 0], times[:, 0], values[:, 0] = kind, time_ms, value
    hot = HotSet([Channel(point="D/p", period_ms=PERIOD_MS)], [CHECKS], engine=Engine.NUMPY)
    flags, score = hot.step(time_ms[:, None], kind[:, None], value[:, None])
    plain = HotSet([Channel(point="D/p", period_ms=PERIOD_MS)], [CHECKS], engine=Engine.NUMPY)
    said, worst = np.zeros((120, kernel.LANES), np.int32), np.zeros((120, kernel.LANES))
    with np.errstate(all="ignore"):
        parts: list[Any] = [times, kinds, values, plain.lanes, plain.parameters, said, worst]
        kernel.step(*(part.reshape(-1) for part in parts))
    assert np.array_equal(said[:, 0], flags[:, 0])
    assert np.array_equal(worst[:, 0], score[:, 0])
    assert np.array_equal(hot.state()["hot"], plain.state()["hot"])


def test_without_a_place_for_the_cache_kernels_run_uncached(monkeypatch: pytest.MonkeyPatch) -> None:
    import numba

    real = numba.njit

    def nowhere(**options: Any) -> Any:
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return real(**options)

    monkeypatch.setattr(numba, "njit", nowhere)
    made = compile_kernels(vars(kernel), ("select",), prove=lambda f: f["select"](True, 1.0, 2.0))
    assert made.mode is Mode.UNCACHED
    assert "no locator" in made.why

    def broken(**_: Any) -> Any:
        raise OSError("no space left on device")

    monkeypatch.setattr(numba, "njit", broken)
    made = compile_kernels(vars(kernel), ("select",))
    assert made.mode is Mode.PLAIN
    assert made.functions["select"](False, 1, 2) == 2


def test_without_numba_everything_runs() -> None:
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "import json; from edge.detect.hot import compiled\n"
        "print(json.dumps([str(compiled().mode), compiled().why]))"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    mode, why = json.loads(out.stdout)
    assert mode == "plain"
    assert "numba cannot be imported" in why
    assert compiled().mode in {Mode.CACHED, Mode.UNCACHED} or os.environ.get("NUMBA_DISABLE_JIT")
