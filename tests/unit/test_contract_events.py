"""Journal events: canonical text, and what becomes of texts that are no event of ours."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from gateway.contract import events
from gateway.contract.events import Event, UnknownEvent, event_text, parse_event

T = datetime(2026, 11, 22, 10, 0, 0, 250_000, tzinfo=UTC)
EPOCH = "7f3a9c21d0e4b5a6"
ALL: list[Event] = [
    events.Scan(id="1", time=T, actor="ana", act="put_in", batch="B-1", equipment="FRZ-01", effective=T),
    events.Scan(id="1", time=T, act="receive", batch="P-1", equipment="E", label="unreadable", party="lab"),
    events.ManualReading(id="1", time=T, equipment="FRZ-01", value=-19.5, unit="Cel", effective=T),
    events.Note(id="2", time=T, note="Tür offen", batch="B-2026-0001"),
    events.LimitFinding(
        id="3", time=T, rule="frz", version=2, point="FRZ-01/temperature", side="high", state="open",
        from_=T, peak=-9.8, sentence="above -15 Cel for 600 s",
    ),
    events.Detection(
        id="11", time=T, detector="flatline", version=1, parameters="ab", point="FRZ-01/temperature", from_=T,
        state="open", score=1.0, raw=60.0, threshold=40.0, value=-19.5, unit="Cel", expected=(T, T, T),
    ),
    events.ConfigChange(id="4", time=T, config_hash="a", previous_hash="b"),
    events.Absence(id="5", time=T, points=("BR-01/temperature",), boot="b1", from_=T, reason="timeout"),
    events.AgentDown(id="6", time=T, boot="b1", from_=T, to=T + timedelta(seconds=3)),
    events.Loss(id="7", time=T, epoch=EPOCH, ranges=((3, 5), (9, 9)), digests=("ab" * 32,), cause="full"),
    events.ClockStep(id="8", time=T, boot="b1", monotonic_ns=7, before=T, after=T, step_s=-1.5),
    events.RolledBack(id="9", time=T, old_epoch=EPOCH, new_epoch="00" * 8, upto=9, last_number=4),
    events.RolledBack(
        id="9",
        time=T,
        old_epoch=EPOCH,
        new_epoch="00" * 8,
        upto=9,
        last_number=7,
        moved=((3, 4), (7, 7)),
        moved_to=1,
    ),
    events.OutboxFilling(id="10", time=T, percent=80, before=50, bytes=8, bytes_max=10, oldest=T),
]  # fmt: skip


@pytest.mark.parametrize("event", ALL, ids=lambda event: event.kind)
def test_every_kind_comes_back_from_its_canonical_text(event: Event) -> None:
    text = event_text(event)
    assert parse_event(text) == event
    parsed = json.loads(text)
    assert text == json.dumps(parsed, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert parsed["kind"] == event.kind
    assert "from_" not in parsed


def test_the_list_above_holds_every_kind() -> None:
    assert {event.kind for event in ALL} == set(events.event_schema()["discriminator"]["mapping"])


def test_times_are_utc_with_a_zone() -> None:
    zurich = T.astimezone(timezone(timedelta(hours=1)))
    scan = events.Scan(id="1", time=zurich, act="move", batch="B", equipment="E")
    assert '"time":"2026-11-22T10:00:00.250Z"' in event_text(scan)
    micro = events.Note(id="1", time=T.replace(microsecond=1))
    assert '"time":"2026-11-22T10:00:00.000001Z"' in event_text(micro)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "JSON"),
        ("[]", "object"),
        ("{}", "kind"),
        ('{"kind":"weather"}', "weather"),
        ('{"kind":"note","id":"1","time":"2026-11-22T10:00:00"}', "timezone"),
        ('{"kind":"note","id":"1","time":1700000000}', "RFC 3339"),
        ('{"kind":"note","time":"2026-11-22T10:00:00Z"}', "id"),
        (
            '{"kind":"scan","id":"1","time":"2026-11-22T10:00:00Z","act":"eat","batch":"B","equipment":"E"}',
            "act",
        ),
        ("[" * 100_000, ""),
        ('{"kind":"note","id":"\\ud800","time":"2026-11-22T10:00:00Z"}', ""),
        ('{"kind":"note","id":"1","time":"0001-01-01T00:00:00+14:00"}', ""),
    ],
)
def test_other_texts_are_kept_as_unknown(text: str, what: str) -> None:
    event = parse_event(text)
    assert isinstance(event, UnknownEvent)
    assert event.text == text
    assert what in event.problem


def test_fields_of_a_later_version_are_passed_over() -> None:
    event = parse_event('{"kind":"note","id":"1","time":"2026-11-22T10:00:00+01:00","mood":"good"}')
    assert isinstance(event, events.Note)
    assert event.time.hour == 9


def test_an_event_fits_its_segment() -> None:
    points = tuple(f"BR-{i:03}/temperature" for i in range(1000))
    with pytest.raises(ValueError, match="split it"):
        event_text(events.Absence(id="5", time=T, points=points, boot="b1", from_=T, reason="timeout"))
