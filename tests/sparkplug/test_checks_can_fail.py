"""Every check fails over some record that breaks its rule: none passes because it looks at nothing.

The recorded sessions are spoilt in one way after the other, by changing packets, and the checks run again.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeAlias

import pytest

from tests.sparkplug.packets import Kind, Packet
from tests.sparkplug.proxy import Record, Seen
from tests.sparkplug.registry import CHECKS
from tests.sparkplug.story import HOST, Message, Story
from tests.sparkplug.test_assertions import MODULES

assert MODULES
Spoil: TypeAlias = Callable[[Seen], Seen | None]


def spoilt(story: Story, spoil: Spoil) -> Story:
    """Another story in which every packet went through `spoil`; None drops it."""
    record = Record(marks=story.record.marks, ended=story.record.ended)
    record.seen = [changed for seen in story.record.seen if (changed := spoil(seen)) is not None]
    return Story(record, copy.deepcopy(story.facts))


def kind_of(packet: Packet) -> str:
    if packet.kind is not Kind.PUBLISH:
        return packet.kind.name
    levels = packet.topic.split("/")
    return "STATE" if levels[1:2] == ["STATE"] else levels[2] if len(levels) > 2 else ""


def on(kinds: str, change: Callable[[Packet], Packet | None], *, down: bool = False) -> Spoil:
    """Change packets of these kinds that clients send (or hear), and wills."""
    wanted = set(kinds.split())

    def spoil(seen: Seen) -> Seen | None:
        packet = seen.packet
        if seen.up is not down and kind_of(packet) in wanted:
            changed = change(packet)
            return None if changed is None else replace(seen, packet=changed)
        if packet.will is not None and f"will-{kind_of(packet.will)}" in wanted:
            return replace(seen, packet=replace(packet, will=change(packet.will)))
        return seen

    return spoil


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: int | bytes) -> bytes:
    """One field of protobuf."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def fields(data: bytes) -> list[tuple[int, bytes, bytes]]:
    """(number, the field as it stands, its content)."""
    out, at = [], 0

    def read() -> int:
        nonlocal at
        value = shift = 0
        while True:
            value |= (data[at] & 0x7F) << shift
            shift, at = shift + 7, at + 1
            if data[at - 1] < 0x80:
                return value

    while at < len(data):
        start = at
        tag = read()
        size = {1: 8, 5: 4}.get(tag & 7)
        if tag & 7 == 0:
            begin = at
            read()
        else:
            size = read() if size is None else size
            begin, at = at, at + size
        out.append((tag >> 3, data[start:at], data[begin:at]))
    return out


def payload(
    kinds: str,
    *,
    drop: tuple[int, ...] = (),
    add: bytes = b"",
    metric: Callable[[bytes], bytes] | None = None,
) -> Spoil:
    """Leave out fields of the payload, add some, or change every metric."""

    def change(packet: Packet) -> Packet:
        data = b"".join(
            field(2, metric(content)) if number == 2 and metric is not None else whole
            for number, whole, content in fields(packet.payload)
            if number not in drop
        )
        return replace(packet, payload=data + add)

    return on(kinds, change)


def without(*numbers: int, add: bytes = b"", named: bytes = b"") -> Callable[[bytes], bytes]:
    """A metric without these fields, and with more; only those with this text in them."""

    def change(data: bytes) -> bytes:
        if named not in data:
            return data
        return b"".join(whole for number, whole, _ in fields(data) if number not in numbers) + add

    return change


def topic(kinds: str, change: Callable[[list[str]], list[str]]) -> Spoil:
    return on(kinds, lambda packet: replace(packet, topic="/".join(change(packet.topic.split("/")))))


def state(**changes: object) -> Callable[[Packet], Packet]:
    def change(packet: Packet) -> Packet:
        found = {**json.loads(packet.payload), **changes}
        return replace(packet, payload=json.dumps({k: v for k, v in found.items() if v is not None}).encode())

    return change


EDGE = "NBIRTH DBIRTH NDATA DDATA DDEATH NDEATH"
DATA = "NDATA DDATA"
BIRTHS = "NBIRTH DBIRTH"
WILLS = "will-NDEATH will-STATE"
ALL = f"{EDGE} NCMD STATE"
QUALITY = b"\x0a\x07Quality"

SPOILS: Final[dict[str, Spoil]] = {
    "qos 2": on(f"{ALL} {WILLS}", lambda p: replace(p, qos=2)),
    "retain turned": on(f"{ALL} {WILLS}", lambda p: replace(p, retain=not p.retain)),
    "another namespace": topic(f"{ALL} {WILLS}", lambda t: ["spAv1.0", *t[1:]]),
    "a level too much": topic(f"{ALL} {WILLS}", lambda t: [*t, "x"]),
    "a level too few": topic("DBIRTH DDATA DDEATH", lambda t: t[:-1]),
    "wild ids": topic(EDGE, lambda t: [t[0], "+", t[2], "#", *(["+"] if len(t) > 4 else [])]),
    "ids by case": topic("DDATA", lambda t: [t[0], "G", *t[2:-1], t[-1].lower()]),
    "another node": topic(
        f"DBIRTH NCMD {WILLS}", lambda t: [*t[:3], "else", *t[4:]] if len(t) > 3 else [*t, "x"]
    ),
    "no timestamp": payload(f"{ALL.replace(' STATE', '')}", drop=(1,)),
    "an hour ago": payload("NCMD", drop=(1,), add=field(1, 1), metric=without(3, add=field(3, 1))),
    "old times": payload(EDGE, drop=(1,), add=field(1, 1), metric=without(3, add=field(3, 1))),
    "no seq": payload(EDGE, drop=(3,)),
    "seq 9": payload(f"{EDGE} NCMD will-NDEATH", drop=(3,), add=field(3, 9)),
    "no metrics": payload(f"{EDGE} NCMD will-NDEATH", drop=(2,)),
    "one metric more": payload(
        f"{EDGE} NCMD will-NDEATH", add=field(2, field(1, b"more") + field(2, 99) + field(11, 1))
    ),
    "no names": payload(f"{EDGE} NCMD", metric=without(1)),
    "one name": payload(f"{EDGE} NCMD will-NDEATH", metric=without(1, add=field(1, b"same"))),
    "one alias": payload(f"{EDGE} NCMD", metric=without(2, add=field(2, 1))),
    "no datatypes": payload(f"{EDGE} will-NDEATH", metric=without(4)),
    "datatype 99": payload(f"{EDGE} NCMD", metric=without(4, add=field(4, 99))),
    "null and value": payload(f"{EDGE} NCMD", metric=without(7, add=field(7, 1))),
    "no values": payload(f"{EDGE} NCMD", metric=without(*range(10, 16))),
    "keys only": payload(f"{BIRTHS} {DATA}", metric=without(9, add=field(9, field(1, b"Quality")))),
    "untyped properties": payload(
        f"{BIRTHS} {DATA}", metric=without(9, add=field(9, field(1, b"Quality") + field(2, field(8, b"x"))))
    ),
    "data backwards": payload(DATA, add=field(2, field(2, 1) + field(3, 5) + field(11, 5))),
    "rebirth by alias": payload("NBIRTH", metric=without(add=field(2, 77), named=b"Node Control/Rebirth")),
    "wrong bdSeq": payload("NBIRTH NDEATH", metric=without(11, add=field(11, 200), named=b"bdSeq")),
    "bdSeq stands": payload("will-NDEATH", metric=without(11, add=field(11, 7), named=b"bdSeq")),
    "no events": payload("NDATA", metric=without(15, add=field(15, b"-"), named=b"Journal")),
    "unclean": on("CONNECT", lambda p: replace(p, clean=False)),
    "no will": on("CONNECT", lambda p: replace(p, will=None)),
    "one client": on("CONNECT", lambda p: replace(p, client_id="g.plain" if p.client_id != HOST else HOST)),
    "subscribed at 0": on("SUBSCRIBE", lambda p: replace(p, filters=tuple((n, 0) for n, _ in p.filters))),
    "subscribed elsewhere": on("SUBSCRIBE", lambda p: replace(p, filters=(("x", 1),))),
    "state without time": on("STATE will-STATE", state(timestamp=None)),
    "state turned": on("STATE", state(online=False)),
    "never offline": on("STATE will-STATE", state(online=True)),
    "state in 1970": on("STATE will-STATE", state(timestamp=5)),
    "state later": on("STATE", state(timestamp=4_000_000_000_000)),
    "connack lost": on("CONNACK", lambda _: None, down=True),
    **{f"no {kind}": on(kind, lambda _: None) for kind in (*ALL.split(), "DISCONNECT", "SUBSCRIBE")},
    **{f"no {kind} heard": on(kind, lambda _: None, down=True) for kind in ("NCMD", "STATE")},
    "repeated devices": topic("DBIRTH", lambda t: [*t[:-1], "C-1"]),
    "other devices": topic("DBIRTH", lambda t: [*t[:-1], f"{t[3]}-{t[-1]}"]),
}


def _late(seen: Seen) -> Seen:
    """Ends of sessions an hour later."""
    return replace(seen, at_ms=seen.at_ms + 3_600_000)


SPOILS["another hour"] = _late


def _shuffled(story: Story) -> Story:
    """Each connection's client packets backwards."""
    made = spoilt(story, lambda seen: seen)
    by_connection: dict[int, list[Seen]] = {}
    for seen in made.record.seen:
        if seen.up and seen.packet.kind is not Kind.CONNECT:
            by_connection.setdefault(seen.connection, []).append(seen)
    swapped = {
        there.number: replace(there, packet=here.packet)
        for those in by_connection.values()
        for there, here in zip(those, reversed(those), strict=True)
    }
    made.record.seen = [swapped.get(seen.number, seen) for seen in made.record.seen]
    return made


def _unmarked(story: Story) -> Story:
    """The script's marks all at the start or the end: everything happened in the wrong place."""
    made = spoilt(story, lambda seen: seen)
    names = sorted(made.record.marks, key=lambda name: made.record.marks[name])
    places = [0] + [made.record.marks[name] for name in names[:-1]]
    made.record.marks = dict(zip(names, places, strict=True))
    return made


def _facts(story: Story) -> Story:
    """The host showed nothing of any death, and the gap opened long ago."""
    made = spoilt(story, lambda seen: seen)
    for when in ("after DDEATH", "after NDEATH"):
        made.facts[when] = dict(made.facts["alive"])
    number, at_ms = made.facts["gap opened"]
    made.facts["gap opened"] = number, at_ms + 60_000
    return made


def _impatient(story: Story) -> Story:
    """Births were asked for before the healed gap healed."""
    made = spoilt(story, lambda seen: seen)
    made.record.marks = {**made.record.marks, "gap opens": made.record.marks["host stopped"]}
    return made


def _together(story: Story) -> Story:
    """No connection ended before the next began."""
    made = spoilt(story, on("DISCONNECT", lambda _: None))
    made.record.ended = dict.fromkeys(made.record.ended, 10**9)
    return made


def failures(story: Story) -> set[str]:
    """The ids whose checks fail over this story."""
    failed = set()
    for one, check in CHECKS.items():
        try:
            check(story)
        except Exception:  # a spoilt record may break a check in any way; all of them count as red
            failed.add(one)
    return failed


BY_NATURE: Final = {
    "operational-behavior-host-reordering-param": "asks the configuration, not the record",
    "payloads-name-cmd-requirement": "MAY",
}


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_every_check_fails_over_some_spoilt_record(story: Story) -> None:
    assert failures(story) == set(), "the record as it is"
    stories = [spoilt(story, spoil) for spoil in SPOILS.values()]
    stories += [spoil(story) for spoil in (_shuffled, _unmarked, _facts, _impatient, _together)]
    failed = set().union(*(failures(one) for one in stories))
    assert set(CHECKS) - failed - set(BY_NATURE) == set(), "these pass whatever is recorded"


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_rule_broken_alone_fails_its_own_checks(story: Story) -> None:
    at_qos_1 = failures(spoilt(story, on("NBIRTH", lambda p: replace(p, qos=1))))
    assert at_qos_1 == {
        *("topics-nbirth-mqtt", "payloads-nbirth-qos"),
        "message-flow-edge-node-birth-publish-nbirth-qos",
    }
    not_retained = failures(spoilt(story, on("will-STATE", lambda p: replace(p, retain=False))))
    assert not_retained == {
        *(
            "operational-behavior-host-application-connect-will-retained",
            "payloads-state-will-message-retain",
        ),
        "host-topic-phid-death-retain",
    }
    numbered = failures(spoilt(story, payload("NCMD", add=field(3, 1))))
    assert numbered == {"payloads-ncmd-seq"}
    assert Message(story.record.seen[0], story.record.seen[0].packet).kind == ""
