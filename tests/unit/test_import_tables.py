"""Files of loggers as tables and readings: the variants, and what is asked instead of guessed."""

from __future__ import annotations

import pytest

from collector.identity.times import utc_text
from collector.imports.clock import Clock
from collector.imports.mapping import Column, Mapping, Series, guess, logger_of, read
from collector.imports.tables import NoTableError, Table, read_table

PLAIN = b"time,temperature\n2026-01-05T03:00:00Z,4.1\n2026-01-05T03:05:00Z,4.2\n"
GERMAN = (
    "Datenlogger Export\nSerial number: TL-0815\n\n"
    "Nr.;Datum;Uhrzeit;Temperatur (°C);Feuchte [%rF]\n"
    "1;25.01.2026;03:00:00;-19,5;40,1\n2;25.01.2026;03:05:00;-19,25;---\n"
)
AMERICAN = "Sample,Date,Temp °F\n1,01/25/2026 3:00:00 PM,39.4\n2,01/25/2026 3:05:00 PM,39.6\n"
TABS = "when\tT\n2026-01-05 03:00:00+01:00\t1\n2026-01-05 03:05:00+01:00\t2\n"


def taken(content: bytes, **more: str) -> tuple[Table, Mapping, list[Series]]:
    table = read_table(content)
    full, series = read(table, guess(table).model_copy(update=more))
    return table, full, series


def starts(series: list[Series]) -> list[str]:
    return [utc_text(one.time_ns[0]) for one in series]


def test_a_plain_table() -> None:
    _, mapping, (series,) = taken(PLAIN)
    assert mapping.columns == {"temperature": Column(name="temperature")}
    assert (series.values, series.period_ms) == ((4.1, 4.2), 300_000)
    assert starts([series]) == ["2026-01-05T03:00:00.000Z"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_two_columns_of_time_a_comma_and_a_preamble(encoding: str) -> None:
    table, mapping, (temperature, humidity) = taken(GERMAN.encode(encoding), zone="Europe/Zurich")
    assert logger_of(table) == "TL-0815"
    assert (mapping.time, mapping.decimal, mapping.format) == (("Datum", "Uhrzeit"), ",", "%d.%m.%Y %H:%M:%S")
    assert temperature.column == Column(name="Temperatur", unit="Cel")
    assert temperature.values == (-19.5, -19.25)
    assert humidity.values == (40.1, None), "what stands in place of a number is a fault, not an absence"
    assert starts([temperature]) == ["2026-01-25T02:00:00.000Z"]


def test_month_first_is_seen_where_the_day_tells() -> None:
    _, mapping, (series,) = taken(AMERICAN.encode(), zone="UTC")
    assert mapping.format == "%m/%d/%Y %I:%M:%S %p"
    assert series.column == Column(name="Temp", unit="[degF]")
    assert starts([series]) == ["2026-01-25T15:00:00.000Z"]


def test_a_stamp_with_its_own_zone_needs_none() -> None:
    assert starts(taken(TABS.encode())[2]) == ["2026-01-05T02:00:00.000Z"]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"Date,T\n03/04/2026 03:00,1\n03/04/2026 03:05,2\n", "may mean"),
        (GERMAN.encode(), "in which zone"),
        (b"Date,T\n25.10.2026 02:30:00,1\n", "comes twice"),
        (b"Date,T\n29.03.2026 02:30:00,1\n", "does not exist"),
    ],
)
def test_what_cannot_be_told_is_asked_for(content: bytes, what: str) -> None:
    zone = "" if "zone" in what else "Europe/Zurich"
    with pytest.raises(ValueError, match=what):
        taken(content, zone=zone)


def test_the_hour_that_comes_twice_by_order_newest_first_too() -> None:
    rows = [f"25.10.2026 02:{m:02}:00,{m}" for m in (0, 30)] * 2
    for given in (rows, rows[::-1]):
        _, _, (series,) = taken("\n".join(["Date,T", *given]).encode(), zone="Europe/Zurich")
        assert [utc_text(at)[11:16] for at in series.time_ns] == ["00:00", "00:30", "01:00", "01:30"]


def test_a_clock_that_was_ahead_is_taken_back() -> None:
    table = read_table(PLAIN)
    _, (series,) = read(table, guess(table), clock=Clock.ahead(121.0))
    assert utc_text(series.time_ns[0]) == "2026-01-05T02:57:59.000Z"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"%PDF-1.7 ...", "PDF"),
        (b"PK\x03\x04..", "spreadsheet"),
        (b"\x00\x01", "text"),
        (b"a,b\n1,2\n", "time"),
    ],
)
def test_what_is_no_table_is_evidence(content: bytes, what: str) -> None:
    with pytest.raises(NoTableError, match=what):
        read_table(content)
