"""The published vectors of the EPCIS event hash: pre-hash text and hash, event by event."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from collector.custody.digital_link import normal
from collector.custody.event_hash import event_hash, prehash

FOLDER = Path(__file__).parent / "epcis"
DOCUMENTS = sorted(path.stem for path in FOLDER.glob("*.jsonld"))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_prehash_and_hash_as_published(name: str) -> None:
    document = json.loads((FOLDER / f"{name}.jsonld").read_text("utf-8"))
    events, context = document["epcisBody"]["eventList"], document["@context"]
    expected = [line for line in (FOLDER / f"{name}.prehashes").read_text("utf-8").split("\n") if line]
    hashes = (FOLDER / f"{name}.hashes").read_text("utf-8").split()
    assert [prehash(event, context) for event in events] == expected
    assert [event_hash(event, context) for event in events] == hashes


def test_there_are_vectors() -> None:
    assert len(DOCUMENTS) == 9


@pytest.mark.parametrize(
    "text", ["geo:50.9,6.9", "https://example.org/taxonomy/1126011", "B-2026-0001", "urn:x:y"]
)
def test_what_is_no_key_stays(text: str) -> None:
    assert normal(text) == text


def test_record_time_id_and_order_do_not_change_the_name() -> None:
    event = {"type": "ObjectEvent", "eventTime": "2026-01-01T00:00:00Z", "eventTimeZoneOffset": "+00:00",
             "epcList": ["urn:epc:id:sscc:4012345.0000000333", "urn:epc:id:sscc:4012345.0000000111"],
             "action": "OBSERVE"}  # fmt: skip
    other = {**event, "recordTime": "2026-01-02T00:00:00Z", "eventID": "x", "errorDeclaration": {},
             "epcList": list(reversed(event["epcList"])),
             "eventTime": "2026-01-01T01:00:00.000+01:00"}  # fmt: skip
    assert event_hash(event) == event_hash(other)
    assert event_hash(event) != event_hash({**event, "action": "ADD"})
