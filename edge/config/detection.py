"""`[detect]`: which detectors run on which point with which settings, and the bank made of it.

Owns the section's keys, what stands when nothing is written, and the faults that only the detectors
themselves can see (an unknown one, a setting out of bounds). Must not know where readings come from.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from edge.detect.bank import Bank
from edge.detect.cold import COLD
from edge.detect.hot import Checks, Engine
from edge.detect.novelty import MAKERS
from edge.detect.port import Channel, Detector, Maker
from edge.detect.words import CHECKS
from gateway.link.broker import checked_url

REQUESTABLE: Final[Mapping[str, Maker]] = {**COLD.makers, **MAKERS}
NAMES: Final = (*(check.name for check in CHECKS), *COLD.makers)
"""What runs without being asked for, and can be turned off."""

DRIFT_SHARE: Final = 0.05
"""Of the room between two limits: a smaller wander is no drift."""
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _no_address(value: str) -> str:
    return checked_url(value) if value else value


def _known(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in NAMES:
            near = difflib.get_close_matches(name, NAMES, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(NAMES)}"
            msg = f"there is no detector {name!r}: {hint}"
            raise ValueError(msg)
    return names


class CheckSettings(BaseModel):
    """Settings of the tests on every point; what is left out is learned or stands by default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    range: tuple[float, float] | None = Field(default=None, description="[low, high] that can be measured")
    rate_per_s: Positive | None = Field(default=None, description="the fastest change that is possible")
    flat_s: Positive | None = Field(default=None, description="how long the value may stand still")
    resolution: Positive | None = None
    codes: Annotated[tuple[float, ...], Field(max_length=2)] | None = Field(
        default=None, description="values by which the sensor says that it failed: codes = [85.0, -127.0]"
    )
    gap_periods: Annotated[float, Field(ge=2)] | None = None
    learn_samples: Annotated[float, Field(ge=30)] | None = None
    learn_h: Annotated[float, Field(ge=0)] | None = None
    drift_learn_h: Annotated[float, Field(ge=0)] | None = None
    jump: Annotated[float, Field(ge=1)] | None = Field(default=None, description="times the largest step yet")
    fast_s: Positive | None = None
    slow_h: Positive | None = None
    drift_k: Positive | None = None
    drift_h: Positive | None = None
    relearn_h: Positive | None = None
    flat_runs: Annotated[float, Field(ge=1)] | None = None
    drift_min: Annotated[float, Field(ge=0)] | None = Field(
        default=None, description="smaller drifts are none"
    )
    off: tuple[str, ...] = ()

    @field_validator("range")
    @classmethod
    def _ascending(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not value[0] < value[1]:
            msg = "range must be [low, high] with low < high"
            raise ValueError(msg)
        return value

    @field_validator("off")
    @classmethod
    def _names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _known(value)

    def said(self) -> dict[str, Any]:
        """Fields of `Checks` that are set here."""
        found = self.model_dump(exclude_none=True, include=set(CheckSettings.model_fields) - {"off", "range"})
        if self.range is not None:
            found["low"], found["high"] = self.range
        return found


class LightSection(BaseModel):
    """A stack light: three coils in a row, red, amber, green, on a bus with `annunciator = true`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bus: str = Field(description='the [[bus]] with annunciator = true: bus = "tower"')
    unit: Annotated[int, Field(ge=0, le=255)] = 1
    address: Annotated[int, Field(ge=0, le=65_533)] = 0


class DetectSection(CheckSettings):
    """The whole section: settings for all points, for some, and detectors on request."""

    enabled: bool = True
    engine: Literal["auto", "numpy", "numba"] = "auto"
    local: Annotated[str, AfterValidator(_no_address)] = Field(
        default="", description='where findings are told without uplink: local = "mqtt://127.0.0.1:1883"'
    )
    light: LightSection | None = None
    points: dict[str, CheckSettings] = Field(
        default={}, description='by point or pattern: [detect.points."FRZ-01/*"]'
    )
    request: dict[str, dict[str, Any]] = Field(
        default={}, description='by detector: [detect.request.hampel] points = ["BR-01/*"]'
    )


class DetectOnly(BaseModel):
    """A file of nothing but `[detect]`, for logs without a gateway."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    detect: DetectSection = DetectSection()


def bank_of(section: DetectSection, channels: Sequence[Channel], *, node: str) -> Bank:
    """All detectors of these points. Raises ValueError for settings that `faults` would tell."""
    checks, spared = [], []
    for channel in channels:
        said = section.said()
        off = set(section.off)
        for pattern, some in section.points.items():
            if fnmatchcase(channel.point, pattern):
                said |= some.said()
                off |= set(some.off)
        if "codes" not in said and channel.unit not in {"Cel", "1"}:
            said["codes"] = ()
        if "drift_learn_h" not in said and channel.limits != (None, None):
            said["drift_learn_h"] = said.get("learn_h", Checks().learn_h)  # what has a limit is regulated
        low, high = channel.limits
        if "drift_min" not in said and low is not None and high is not None:
            said["drift_min"] = DRIFT_SHARE * (high - low)
        checks.append(Checks(**said))
        spared.append(frozenset(off))
    return Bank(
        node=node,
        channels=channels,
        checks=checks,
        off=spared,
        attached=[*_cold(section, channels, spared), *_requested(section, channels)],
        engine=Engine(section.engine),
    )


def _cold(
    section: DetectSection, channels: Sequence[Channel], spared: Sequence[frozenset[str]]
) -> Iterator[tuple[Detector, Sequence[int]]]:
    """What runs by itself where a point is of its kind, unless it is off or asked for with settings."""
    for at, channel in enumerate(channels):
        for name, fits in COLD.fits.items():
            if fits(channel) and name not in spared[at] and name not in section.request:
                yield COLD.makers[name]({}, [channel]), (at,)


def _requested(
    section: DetectSection, channels: Sequence[Channel]
) -> Iterator[tuple[Detector, Sequence[int]]]:
    for name, settings in section.request.items():
        for group in _groups(settings, channels):
            yield REQUESTABLE[name](_own(settings), [channels[at] for at in group]), group


def _own(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key not in {"points", "group"}}


def _groups(settings: Mapping[str, Any], channels: Sequence[Channel]) -> list[tuple[int, ...]]:
    """`points`: one detector a matching point. `group`: one for all of a vessel, in the order written."""
    place = {channel.point: at for at, channel in enumerate(channels)}
    if "group" in settings:
        groups = [tuple(place[name] for name in group if name in place) for group in settings["group"]]
        return [group for group in groups if group]
    patterns = settings.get("points", ["*"])
    return [
        (at,)
        for at, channel in enumerate(channels)
        if any(fnmatchcase(channel.point, pattern) for pattern in patterns)
    ]


def faults(section: DetectSection, channels: Sequence[Channel]) -> Iterator[tuple[str, str, str]]:
    """(key, problem, hint) of everything that no single value shows."""
    names = [channel.point for channel in channels]
    for pattern in section.points:
        if not any(fnmatchcase(name, pattern) for name in names):
            yield f'detect.points."{pattern}"', "fits no point", _near(pattern, names)
    for name, settings in section.request.items():
        key = f"detect.request.{name}"
        if name not in REQUESTABLE:
            yield key, "there is no such detector", _near(name, sorted(REQUESTABLE))
            continue
        yield from _shape_faults(key, settings, names)
        try:
            for group in _groups(settings, channels):
                REQUESTABLE[name](_own(settings), [channels[at] for at in group])
                break
        except (ValueError, TypeError) as error:
            yield key, str(error), "see `telomere edge detect --help`"


def _shape_faults(
    key: str, settings: Mapping[str, Any], names: Sequence[str]
) -> Iterator[tuple[str, str, str]]:
    if "points" in settings and "group" in settings:
        yield key, "has both points and group", "give points (one detector each) or group (one for all)"
    for name in (one for group in settings.get("group", ()) for one in group):
        if name not in names:
            yield f"{key}.group", f"there is no point {name!r}", _near(name, names)
    for pattern in settings.get("points", ()):
        if not any(fnmatchcase(name, pattern) for name in names):
            yield f"{key}.points", f"{pattern!r} fits no point", _near(pattern, names)


def _near(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(known[:12]) or 'none'}"


def finite(pair: tuple[float, float] | None) -> tuple[float, float]:
    """A range as a channel wants it."""
    return (-math.inf, math.inf) if pair is None else pair
