"""Stories of a site in one seed: late births, forks, repeats, damaged and moved segments, foreign nodes.

What a gateway sends, in an order in which it might arrive. Used wherever two ways to one answer are
held against each other.
"""

from __future__ import annotations

import datetime as dt
import random

from gateway.contract import codec, wire
from gateway.contract.births import MetricBirth
from gateway.contract.events import EVENT_METRIC, RolledBack, event_text
from gateway.contract.reading import Kind, Quality, Reading, Value, block_of
from gateway.contract.topics import Message
from tests.gateways import EPOCH, T0_MS, SimGateway

DEVICES = ("BR-01", "FRZ-01")
OTHER_EPOCH = "ff" * 8
HUGE = (1 << 63) + 5
KINDS = {"t": Kind.F64, "n": Kind.I64, "u": Kind.U64, "b": Kind.BOOL, "s": Kind.STRING, "by/name": Kind.F64}
ALIASES = {"t": 1, "n": 2, "u": 3, "b": 4, "s": 70, "by/name": None}


def value_of(draw: random.Random, kind: Kind) -> Value:
    match kind:
        case Kind.F64:
            return draw.choice([-0.0, 5e-324, round(draw.gauss(20, 3), 2), round(draw.gauss(20, 3), 2)])
        case Kind.I64:
            return draw.choice([-(1 << 63), (1 << 63) - 1, draw.randrange(-5, 5)])
        case Kind.U64:
            return draw.choice([0, (1 << 64) - 1, draw.randrange(9)])
        case Kind.BOOL:
            return draw.random() < 0.5
        case _:
            return draw.choice(["", "open", "closed", "offen ü"])


def births_of(draw: random.Random, names: list[str], kinds: dict[str, Kind]) -> list[MetricBirth]:
    return [
        MetricBirth(
            name=name,
            kind=kinds[name],
            alias=ALIASES[name],
            unit=draw.choice(["Cel", None]),
            period_ms=draw.choice([None, 10, 1000, 60_000]),
            profile="p@1 00",
            time_ms=T0_MS,
        )
        for name in names
    ]


def readings_of(draw: random.Random, kinds: dict[str, Kind], start_ms: int, n: int) -> list[Reading]:
    out = []
    time_ms = start_ms
    for _ in range(n):
        name = draw.choice(list(kinds))
        alias = ALIASES[name]
        good = draw.random() < 0.85
        out.append(
            Reading(
                time_ms=time_ms,
                kind=kinds[name],
                value=value_of(draw, kinds[name]) if good or draw.random() < 0.3 else None,
                key=alias or 0,
                name="" if alias else name,
                quality=Quality.GOOD if good else draw.choice([Quality.BAD, Quality.STALE]),
                reason="" if good else draw.choice(["timeout", "range"]),
            )
        )
        time_ms += draw.choice([0, 1, 200, 1000, 1000, 7000])
    return out


def foreign(draw: random.Random) -> list[tuple[str, bytes]]:
    """A node of another maker: by name without birth, by aliases of any size, born again."""
    node = SimGateway(group="plant", node="other")
    out: list[tuple[str, bytes]] = []
    for turn in range(draw.randrange(4)):
        birth = wire.Payload(timestamp=T0_MS, seq=0)
        birth.metrics.add(name="bdSeq", timestamp=T0_MS, datatype=4, long_value=turn)
        dbirth = wire.Payload(timestamp=T0_MS, seq=1)
        for alias, name in ((HUGE, "speed"), (0, "zero"), (1 << 50, "far"), (9, "near")):
            dbirth.metrics.add(name=name, alias=alias, timestamp=T0_MS, datatype=10, double_value=0.0)
        if draw.random() < 0.7:
            out.append((node.topic(Message.NBIRTH), birth.SerializeToString()))
        if draw.random() < 0.7:
            out.append((node.topic(Message.DBIRTH, "M1"), dbirth.SerializeToString()))
        for _ in range(draw.randrange(4)):
            data = wire.Payload(timestamp=T0_MS, seq=2)
            at_ms = T0_MS + draw.randrange(20) * 1000
            for alias in (HUGE, 0, 1 << 50, 9):
                data.metrics.add(alias=alias, timestamp=at_ms, datatype=10, double_value=draw.random())
            data.metrics.add(name="said", timestamp=at_ms, datatype=9, float_value=draw.randrange(9) / 2)
            data.metrics.add(name="count", timestamp=at_ms, datatype=3, int_value=(1 << 32) - 5)
            out.append((node.topic(Message.DDATA, "M1"), data.SerializeToString()))
    return out


def own(draw: random.Random, epoch: str) -> list[tuple[str, bytes]]:
    """One epoch of one of our gateways: births again and again, segments, forks and damaged content."""
    gateway, twin = SimGateway(epoch=epoch), SimGateway(epoch=epoch)
    kinds = dict(KINDS)
    names = list(kinds)
    first = [births_of(draw, names[: draw.randrange(1, 7)], kinds) for _ in DEVICES]
    out = [gateway.nbirth(), *map(gateway.dbirth, DEVICES, first)]
    start_ms = T0_MS + draw.randrange(100) * 1000
    for _ in range(draw.randrange(2, 9)):
        device = draw.choice(DEVICES)
        readings = readings_of(draw, kinds, start_ms, draw.randrange(1, 25))
        made = gateway.make(device, readings)
        out.append(gateway.data(made))
        if draw.random() < 0.15:  # the same number with another content
            twin.made[:], twin.previous = gateway.made[:-1], gateway.previous
            out.append(gateway.data(twin.make(device, readings_of(draw, kinds, start_ms, 4))))
        if draw.random() < 0.15:  # content that is not what the digest says
            wrong = codec.encode_body(
                segment=made.identity,
                clock="boot-1 1 1 true -",
                block=block_of(readings_of(draw, kinds, T0_MS, 3)),
                time_ms=T0_MS,
            )
            out.append((out[-1][0], codec.seal(wrong, sent_ms=T0_MS, seq=1, historical=False)))
        if draw.random() < 0.2:
            out.append(draw.choice(out))
        if draw.random() < 0.3:
            out.append(gateway.dbirth(device, births_of(draw, draw.sample(names, 4), kinds)))
        start_ms += draw.choice([-5000, 0, 20_000, 600_000])
    return out


def moved(draw: random.Random) -> list[tuple[str, bytes]]:
    """A gateway whose store went back: some segments come under new numbers too, and it says so."""
    old, new = SimGateway(node="gw-2"), SimGateway(node="gw-2", epoch=OTHER_EPOCH)
    kinds = {"t": Kind.F64}
    births = births_of(draw, ["t"], kinds)
    contents = [readings_of(draw, kinds, T0_MS + n * 9000, 5) for n in range(4)]
    walls = [T0_MS + n * 10_000 for n in range(4)]
    made = [old.make(DEVICES[0], one, wall_ms=wall) for one, wall in zip(contents, walls, strict=True)]
    again = [new.make(DEVICES[0], contents[n], wall_ms=walls[n]) for n in (1, 2)]
    statement = RolledBack(
        id="r", time=dt.datetime.fromtimestamp(T0_MS / 1000, dt.UTC), old_epoch=old.epoch,
        new_epoch=new.epoch, upto=4, last_number=4, moved=((2, 3),), moved_to=1,
    )  # fmt: skip
    told = new.make("-", [Reading(T0_MS, Kind.STRING, event_text(statement), 0, EVENT_METRIC)])
    out = [old.dbirth(DEVICES[0], births), new.dbirth(DEVICES[0], births)]
    return out + [old.data(one) for one in made] + [new.data(one) for one in [*again, told]]


def story(seed: int) -> list[tuple[str, bytes]]:
    """Messages in the order in which they arrive: of each sender mostly in its own, sometimes in none."""
    draw = random.Random(seed)
    ways = [own(draw, EPOCH)]
    if draw.random() < 0.5:
        ways.append(own(draw, OTHER_EPOCH))
    if draw.random() < 0.5:
        ways.append(foreign(draw))
    if draw.random() < 0.4:
        ways.append(moved(draw))
    for way in ways:
        if draw.random() < 0.5:
            draw.shuffle(way)
    out = []
    while any(ways):
        out.append(draw.choice([way for way in ways if way]).pop(0))
    return out
