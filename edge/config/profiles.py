"""Profiles: the register map of a kind of device, in a TOML file beside edge.toml or shipped.

Owns finding, reading and naming them ("name@version sha256") and the overrides of one device. Must
not know buses or other devices.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from edge.config.schema import Name
from edge.model.plan import REGISTERS_MAX
from edge.model.points import PERIOD_MS_MAX, RAW_SUFFIX, UNSAID, Order, Point, PointSpec
from gateway.link.faults import ConfigError, Fault, load_toml_model

SHIPPED: Final = Path(__file__).resolve().parent.parent / "profiles"
_PERIOD: Final = "period_ms"
"""The one override that does not change what a value means, so it leaves the hash alone."""


class ProfileHead(BaseModel):
    """`[profile]`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
    version: Annotated[int, Field(ge=1)]
    order: Order = Order.ABCD
    address_base: Literal[0, 1] = 0
    max_gap: Annotated[int, Field(ge=0, le=REGISTERS_MAX)] = 0
    max_registers: Annotated[int, Field(ge=1, le=REGISTERS_MAX)] = REGISTERS_MAX


class ProfileFile(BaseModel):
    """A profile as written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: ProfileHead
    points: dict[Name, PointSpec] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Profile:
    """A profile as one device uses it: `text` travels with the data."""

    head: ProfileHead
    text: str
    points: tuple[Point, ...]


def shipped_names(folder: Path) -> list[str]:
    """NAMEs of all profiles that can be used from an edge.toml in `folder`."""
    return sorted({path.stem for place in (folder / "profiles", SHIPPED) for path in place.glob("*.toml")})


def find_profile(reference: str, folder: Path) -> tuple[ProfileFile, Path] | Fault:
    """The profile of `NAME@VERSION`; a Fault (without file and key) when there is none such.

    Raises ConfigError when the profile's own file has faults.
    """
    name, _, version = reference.partition("@")
    places = [place / f"{name}.toml" for place in (folder / "profiles", SHIPPED)]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        known = shipped_names(folder)
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        hint += f"known profiles: {', '.join(known)}; your own go to {folder / 'profiles'}"
        return Fault("", "", f"there is no profile {name!r}", hint)
    found, _ = load_toml_model(path, ProfileFile)
    if str(found.profile.version) != version:
        problem = f"profile {name!r} is here in version {found.profile.version}, not {version}"
        return Fault("", "", problem, f"write {name}@{found.profile.version}, or install the other version")
    return found, path


def resolve(
    found: ProfileFile, overrides: Mapping[str, Mapping[str, Any]], *, file: str, key: str
) -> tuple[Profile, list[Fault]]:
    """The profile with one device's overrides, and what is wrong with these."""
    specs: dict[str, PointSpec] = dict(found.points)
    faults: list[Fault] = []
    meaning: dict[str, dict[str, Any]] = {}
    for name, changes in overrides.items():
        if name not in found.points:
            near = difflib.get_close_matches(name, found.points, n=1) or list(found.points)
            problem = f"profile {found.profile.name!r} has no point {name!r}"
            faults.append(Fault(file, f"{key}.points.{name}", problem, f"it has {', '.join(near)}"))
            continue
        try:
            raw = found.points[name].model_dump(by_alias=True, exclude_unset=True)
            specs[name] = PointSpec.model_validate({**raw, **changes})
        except ValidationError as error:
            faults.extend(_override_faults(error, file=file, key=f"{key}.points.{name}"))
            specs[name] = _read_sometime(found.points[name])
            continue
        changed = {item: value for item, value in changes.items() if item != _PERIOD}
        if changed:
            meaning[name] = changed
    for name in [name for name, spec in specs.items() if spec.period_ms == UNSAID]:
        specs[name] = _read_sometime(specs[name])
        problem = f"neither profile {found.profile.name!r} nor this device says how often it is read"
        faults.append(Fault(file, f"{key}.points.{name}.period_ms", problem, "add period_ms = …"))
    points = tuple(
        one
        for name, spec in specs.items()
        for point in [_point(name, spec, found.profile)]
        for one in ([point, point.raw()] if spec.keep_raw else [point])
    )
    faults.extend(
        Fault(file, f"{key}.points.{name}", f"{name + RAW_SUFFIX!r} is a point of its own", "rename it")
        for name, spec in specs.items()
        if spec.keep_raw and name + RAW_SUFFIX in specs
    )
    faults.extend(
        Fault(
            file,
            f"{key}.profile",
            f"point {point.name!r} lies outside addresses 0 to 65535",
            "see address_base",
        )
        for point in points
        if point.address < 0 or point.address + point.width > 65_536
    )
    head = found.profile
    text = f"{head.name}@{head.version} {profile_hash(found, meaning)}"
    return Profile(head, text, points), faults


def _read_sometime(spec: PointSpec) -> PointSpec:
    """A refused point keeps its place, so that what refers to it is not refused as well."""
    return spec if spec.period_ms else spec.model_copy(update={"period_ms": PERIOD_MS_MAX})


def profile_hash(found: ProfileFile, meaning: Mapping[str, Mapping[str, Any]]) -> str:
    """SHA-256, 64 hex digits, of what was written: defaults left out, periods of overrides too."""
    content = TypeAdapter(ProfileFile).dump_python(found, mode="json", by_alias=True, exclude_defaults=True)
    if meaning:
        content["overrides"] = meaning
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _point(name: str, spec: PointSpec, head: ProfileHead) -> Point:
    return Point(name=name, spec=spec, order=head.order, address=spec.address - head.address_base)


def _override_faults(error: ValidationError, *, file: str, key: str) -> Sequence[Fault]:
    out = []
    for one in error.errors(include_url=False):
        where = ".".join(map(str, one["loc"]))
        problem = str(one.get("ctx", {}).get("error", one["msg"]))
        hint = f"known keys: {', '.join(f.alias or n for n, f in PointSpec.model_fields.items())}"
        unknown = one["type"] == "extra_forbidden"
        out.append(
            Fault(
                file, f"{key}.{where}" if where else key, "is not a known key" if unknown else problem, hint
            )
        )
    return out


def load_profiles(
    references: Mapping[str, str], folder: Path, *, file: str
) -> tuple[dict[str, ProfileFile], list[Fault]]:
    """All profiles by NAME@VERSION; `references` maps each to the key of its first use."""
    found: dict[str, ProfileFile] = {}
    faults: list[Fault] = []
    for reference, key in references.items():
        try:
            answer = find_profile(reference, folder)
        except ConfigError as error:
            faults.extend(error.faults)
            continue
        if isinstance(answer, Fault):
            faults.append(Fault(file, key, answer.problem, answer.hint))
        else:
            found[reference] = answer[0]
    return found, faults
