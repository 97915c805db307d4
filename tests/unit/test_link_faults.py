"""Faults of configuration: all at once, at their dotted key, in plain words with a hint."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from gateway.link.faults import ConfigError, Fault, load_toml_model


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Point(_Strict):
    period_ms: int = Field(gt=0, default=1000)


class _Device(_Strict):
    id: str
    order: Literal["ABCD", "CDAB"] = "ABCD"
    points: dict[str, _Point] = {}


class _Gateway(_Strict):
    group: str = Field(description="the Sparkplug group: a site or suite")
    data_dir: Path = Path("var")
    retain: bool = False

    @field_validator("data_dir")
    @classmethod
    def _beside_the_file(cls, value: Path, info: ValidationInfo) -> Path:
        return Path(info.context["folder"]) / value if info.context else value

    @field_validator("group")
    @classmethod
    def _no_slash(cls, value: str) -> str:
        if "/" in value:
            msg = "may not hold a slash"
            raise ValueError(msg)
        return value


class _Tcp(_Strict):
    kind: Literal["tcp"]
    port: int


class _Rtu(_Strict):
    kind: Literal["rtu"]
    baud: int


class _Site(BaseModel):
    gateway: _Gateway
    device: list[_Device] = []
    bus: list[_Tcp | _Rtu] = []


def _faults(tmp_path: Path, text: str) -> dict[str, Fault]:
    path = tmp_path / "edge.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_toml_model(path, _Site)
    return {fault.key: fault for fault in caught.value.faults}


def test_a_good_file_gives_the_model_and_no_warning(tmp_path: Path) -> None:
    path = tmp_path / "edge.toml"
    path.write_text(
        '[gateway]\ngroup = "z"\ndata_dir = "var"\n[[device]]\nid = "A"\npoints.t.period_ms = 500\n'
    )
    site, warnings = load_toml_model(path, _Site)
    assert site.device[0].points["t"].period_ms == 500
    assert site.gateway.data_dir == tmp_path / "var"
    assert warnings == []


def test_every_fault_is_reported_at_its_own_key(tmp_path: Path) -> None:
    faults = _faults(
        tmp_path,
        """
        [gateway]
        group = "a/b"
        retain = "perhaps"
        [[device]]
        id = "A"
        [[device]]
        oder = "ABCD"
        order = "CDAA"
        points.temperature.period_ms = -5
        points."door open".period_ms = "fast"
        [devices]
        """,
    )
    assert {key: fault.problem for key, fault in faults.items()} == {
        "gateway.group": "may not hold a slash",
        "gateway.retain": "must be true or false, not 'perhaps'",
        "device[1].id": "is missing",
        "device[1].oder": "is not a known key",
        "device[1].order": "must be 'ABCD' or 'CDAB', not 'CDAA'",
        "device[1].points.temperature.period_ms": "must be greater than 0, not -5",
        'device[1].points."door open".period_ms': "must be a whole number, not 'fast'",
        "devices": "is not a known key",
    }
    assert faults["device[1].oder"].hint == "did you mean order?"
    assert faults["device[1].order"].hint == "did you mean 'CDAB'?"
    assert faults["devices"].hint == "did you mean device?"
    assert faults["gateway.group"].hint == "the Sparkplug group: a site or suite"


def test_the_text_of_the_error_lists_every_fault_with_file_key_and_hint(tmp_path: Path) -> None:
    path = tmp_path / "edge.toml"
    path.write_text("[gateway]\nfoo = 1\n")
    with pytest.raises(ConfigError) as caught:
        load_toml_model(path, _Site)
    assert str(caught.value).splitlines() == [
        "2 faults in the configuration:",
        f"  {path}: gateway.group: is missing",
        "    the Sparkplug group: a site or suite",
        f"  {path}: gateway.foo: is not a known key",
        "    known keys here: group, data_dir, retain",
    ]


def test_the_members_of_a_union_share_one_key(tmp_path: Path) -> None:
    faults = _faults(tmp_path, '[gateway]\ngroup = "z"\n[[bus]]\nkind = "canbus"\nport = 1\nbaud = 2\n')
    assert "bus[0].kind" in faults
    assert all(key.startswith("bus[0].") for key in faults)


def test_a_section_that_is_not_built_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "edge.toml"
    path.write_text('[gateway]\ngroup = "z"\n[detect]\nx = 1\n')
    _, warnings = load_toml_model(path, _Site, not_built={"detect": "detectors come later", "other": "x"})
    assert warnings == [
        Fault(str(path), "detect", "is not built yet and has no effect", "detectors come later")
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "there is no such file"),
        (b"a = 1\nb = = 2\n", "is not valid TOML: Invalid value (at line 2, column 5)"),
        (b'a = "\xff"\n', "is not UTF-8 text (byte 5)"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_fault(tmp_path: Path, content: bytes | None, problem: str) -> None:
    path = tmp_path / "edge.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_toml_model(path, _Site)
    [fault] = caught.value.faults
    assert (fault.file, fault.key, fault.problem) == (str(path), "", problem)
    assert fault.hint


def test_a_folder_in_place_of_a_file_is_one_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder"):
        load_toml_model(tmp_path, _Site)


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "edge.toml"
    path.write_text('[gateway]\ngroup = "z"\n', encoding="utf-8-sig")
    assert load_toml_model(path, _Site)[0].gateway.group == "z"
