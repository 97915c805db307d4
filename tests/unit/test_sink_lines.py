"""Line protocol: every kind exact, every name escaped or refused with its reason."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.store.rows import Rows
from collector.store.sinks.lines import Dialect, Labels, LineBuilder, Lines, escaped_tag
from gateway.contract.reading import Kind, PointName, Quality
from tests.sinks.columns import every, made, point

T = 1_790_000_000_000
GOOD, BAD = Quality.GOOD, Quality.BAD
HEAD = "readings,device=BR-01,group=zurich,node=gw-1,point=x"


def texts(lines: Lines) -> list[str]:
    cut = [bytes(lines.slice(i, i + 1)).decode() for i in range(len(lines))]
    assert all(one.endswith("\n") for one in cut)
    return [one[:-1] for one in cut]


def built(columns: Rows, dialect: Dialect = Dialect.INFLUX) -> list[str]:
    return texts(LineBuilder(dialect=dialect).build(columns, every(columns)))


@pytest.mark.parametrize(
    ("kind", "value", "influx", "victoria"),
    [
        (Kind.F64, 36.9, "value=36.9,", "value=36.9,"),
        (Kind.F64, -0.0, "value=-0,", "value=-0,"),
        (Kind.F64, 5e-324, "value=5e-324,", "value=5e-324,"),
        (Kind.F64, float("inf"), 'value_text="inf",', ""),
        (Kind.F64, float("nan"), 'value_text="nan",', ""),
        (Kind.I64, -(2**63), "value_int=-9223372036854775808i,", "value=-9223372036854775808i,"),
        (Kind.U64, 2**63 - 1, "value_int=9223372036854775807i,", "value=9223372036854775807u,"),
        (Kind.U64, 2**64 - 1, 'value_text="18446744073709551615",', "value=18446744073709551615u,"),
        (Kind.BOOL, True, "value_bool=true,", "value=true,"),
        (Kind.BOOL, False, "value_bool=false,", "value=false,"),
        (Kind.STRING, 'a "b", c\\', 'value_text="a \\"b\\", c\\\\",', ""),
        (Kind.STRING, "", 'value_text="",', ""),
        (Kind.F64, None, "", ""),
    ],
)
def test_a_value_of_each_kind(kind: Kind, value: float | str | None, influx: str, victoria: str) -> None:
    columns = made([(point("x"), T, kind, value, GOOD, "")])
    assert built(columns) == [f"{HEAD} {influx}quality=192i {T}000000"]
    assert built(columns, Dialect.VICTORIA) == [f"{HEAD} {victoria}quality=192i {T}000000"]


def test_rows_keep_their_order_whatever_their_kinds_and_only_those_asked_for() -> None:
    x, y = point("x"), point("y", device="-")
    columns = made(
        [
            (x, T, Kind.F64, 1.5, GOOD, ""),
            (y, T + 1, Kind.STRING, "on", BAD, "range"),
            (x, T + 2, Kind.F64, None, BAD, "timeout"),
            (y, T + 3, Kind.I64, 7, Quality.STALE, ""),
            (x, T + 4, Kind.F64, 2.5, GOOD, ""),
        ],
        units={x: "Cel", y: "10*3/uL"},
    )
    head_y = "readings,device=-,group=zurich,node=gw-1,point=y,unit=10*3/uL"
    expected = [
        f"{HEAD},unit=Cel value=1.5,quality=192i {T}000000",
        f'{head_y} value_text="on",quality=0i,reason="range" {T + 1}000000',
        f'{HEAD},unit=Cel quality=0i,reason="timeout" {T + 2}000000',
        f"{head_y} value_int=7i,quality=500i {T + 3}000000",
        f"{HEAD},unit=Cel value=2.5,quality=192i {T + 4}000000",
    ]
    assert built(columns) == expected
    some = LineBuilder().build(columns, np.array([4, 1]))
    assert texts(some) == [expected[4], expected[1]]
    assert texts(LineBuilder().build(columns, np.array([], np.int64))) == []


def test_the_batch_is_a_tag_and_a_series_of_its_own() -> None:
    x = point("x")
    columns = made([(x, T + i, Kind.F64, float(i), GOOD, "") for i in range(3)])
    labels = Labels(of=np.array([0, 1, 0], np.int32), texts=("", "site/B 1"))
    lines = texts(LineBuilder().build(columns, every(columns), labels))
    assert [re.findall(r"batch=((?:\\.|[^, ])*)", line) for line in lines] == [[], [r"site/B\ 1"], []]


def test_names_without_a_form_are_refused_with_the_reason_and_the_rest_goes_on() -> None:
    bad, worse = PointName("zurich", "gw-1", "BR\\", "x"), point("a\nb")
    columns = made(
        [(one, T + i, Kind.F64, float(i), GOOD, "") for i, one in enumerate([bad, point("x"), worse, bad])]
    )
    lines = LineBuilder().build(columns, every(columns))
    assert texts(lines) == [f"{HEAD} value=1,quality=192i {T + 1}000000"]
    found = {tuple(rows.tolist()): problem for rows, problem in lines.refused}
    assert set(found) == {(0, 3), (2,)}
    assert "backslash" in found[0, 3]
    assert "line break" in found[2,]


def test_escapes() -> None:
    assert escaped_tag("a b,c=d", Dialect.INFLUX) == r"a\ b\,c\=d"
    assert escaped_tag("a\\b", Dialect.INFLUX) == "a\\b"
    assert escaped_tag("a\\", Dialect.VICTORIA) == "a\\\\"
    assert escaped_tag("°C µ", Dialect.INFLUX) == "°C\\ µ"


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=50))
def test_every_double_reads_back_to_the_bit(values: list[float]) -> None:
    columns = made([(point("x"), T, Kind.F64, value, GOOD, "") for value in values])
    back = [float(line.split("value=")[1].split(",")[0]) for line in built(columns)]
    assert np.array(back).view(np.uint64).tolist() == np.array(values).view(np.uint64).tolist()
