"""Assertions about a node's session: connection, births in order, rebirth, death, the primary host."""

from __future__ import annotations

import itertools

from tests.sparkplug.checks_messages import UTC_SLACK_MS
from tests.sparkplug.packets import Kind
from tests.sparkplug.registry import asserts, each
from tests.sparkplug.story import BIRTHS, DATA, EDGE_KINDS, NUMBERED, Connection, Message, Story, some

# --- will and bdSeq -------------------------------------------------------------------------------


@asserts("message-flow-edge-node-birth-publish-will-message", "payloads-ndeath-will-message")
def connects_with_its_death_as_will(story: Story) -> None:
    assert all(connection.will.kind == "NDEATH" for connection in story.edges())


@asserts("message-flow-edge-node-birth-publish-will-message-topic")
def will_topic(story: Story) -> None:
    for connection in story.edges():
        assert connection.will.packet.topic == f"spBv1.0/g/NDEATH/{connection.client_id[2:]}"


@asserts("message-flow-edge-node-birth-publish-will-message-payload", "topics-ndeath-payload")
def death_is_one_metric(story: Story) -> None:
    for death in [c.will for c in story.edges()] + story.said("NDEATH"):
        assert [metric.name for metric in death.payload.metrics] == ["bdSeq"]


@asserts("message-flow-edge-node-birth-publish-will-message-qos", "payloads-ndeath-will-message-qos")
def will_qos_1(story: Story) -> None:
    assert all(connection.will.packet.qos == 1 for connection in story.edges())


@asserts(
    "message-flow-edge-node-birth-publish-will-message-will-retained", "payloads-ndeath-will-message-retain"
)
def will_not_retained(story: Story) -> None:
    assert not any(connection.will.packet.retain for connection in story.edges())


@asserts("message-flow-edge-node-birth-publish-will-message-payload-bdSeq", "topics-nbirth-bdseq-increment")
def bd_seq_starts_at_zero_and_rises_with_every_connect(story: Story) -> None:
    """Also over a restart of the agent (g.plain) and over 255 (g.wrap)."""
    for client_id, first in (("g.plain", 0), ("g.wrap", 255), ("g.waits", 0)):
        numbers = [connection.will.bd_seq for connection in story.edges(client_id)]
        assert len(numbers) > 1
        assert numbers == [(first + n) % 256 for n in range(len(numbers))]
    for connection in story.edges():
        metric = connection.will.payload.metric("bdSeq")
        assert metric is not None
        assert (metric.datatype, metric.field) == (4, 11)


@asserts("topics-nbirth-bdseq-included", "payloads-nbirth-bdseq")
def births_have_bd_seq(story: Story) -> None:
    for message in story.said("NBIRTH"):
        metric = message.payload.metric("bdSeq")
        assert metric is not None
        assert (metric.datatype, metric.field) == (4, 11)


@asserts(
    "topics-nbirth-bdseq-matching",
    "payloads-nbirth-bdseq-repeat",
    "payloads-ndeath-bdseq",
    "message-flow-edge-node-birth-publish-nbirth-payload-bdSeq",
)
def births_and_deaths_have_the_bd_seq_of_the_will(story: Story) -> None:
    for connection in story.born():
        found = {message.bd_seq for message in connection.of("NBIRTH", "NDEATH")}
        assert found == {connection.will.bd_seq}


# --- the order of births --------------------------------------------------------------------------


@asserts("principles-birth-certificates-order")
def births_come_first(story: Story) -> None:
    for connection in story.born():
        assert connection.said[0].kind == "NBIRTH"
    for connection in story.hosts:
        assert connection.said[0].kind == "STATE"
        assert connection.said[0].state["online"] is True


@asserts("message-flow-edge-node-birth-publish-connect")
def births_follow_the_connack(story: Story) -> None:
    for connection in story.born():
        answered = next(s for s in connection.seen if s.packet.kind is Kind.CONNACK)
        assert answered.number < connection.of("NBIRTH")[0].number


@asserts("message-flow-device-birth-publish-nbirth-wait")
def dbirths_follow_an_nbirth(story: Story) -> None:
    for connection in story.born():
        assert connection.of(*BIRTHS)[0].kind == "NBIRTH"
    some(story.said("DBIRTH"))


@asserts("message-flow-device-birth-publish-dbirth-match-edge-node-topic")
def dbirths_are_of_the_node_that_was_born(story: Story) -> None:
    for connection in story.born():
        assert len({message.node for message in connection.of(*BIRTHS)}) == 1


def _runs(connection: Connection) -> list[list[Message]]:
    """What was said from each NBIRTH to the next."""
    runs: list[list[Message]] = []
    for message in connection.of(*EDGE_KINDS):
        if message.kind == "NBIRTH":
            runs.append([])
        runs[-1].append(message)
    return runs


@asserts("payloads-dbirth-order", "payloads-ndata-order", "payloads-ddata-order")
def all_births_before_any_data(story: Story) -> None:
    """A DBIRTH later on is that of a device that died meanwhile."""
    for connection in story.born():
        for run in _runs(connection):
            born: set[str | None] = set()
            dead: set[str | None] = set()
            data = False
            for message in run:
                if message.kind == "DBIRTH":
                    assert not data or message.device in dead, f"late {message.packet.topic}"
                    born.add(message.device)
                    dead.discard(message.device)
                elif message.kind == "DDEATH":
                    dead.add(message.device)
                elif message.kind in DATA:
                    data = True
                    assert message.device is None or message.device in born


# --- rebirth --------------------------------------------------------------------------------------


@each("topics-nbirth-rebirth-metric", "payloads-nbirth-rebirth-req", of=("NBIRTH",))
@each("operational-behavior-data-commands-rebirth-name", of=("NBIRTH",))
@each("operational-behavior-data-commands-rebirth-datatype", of=("NBIRTH",))
@each("operational-behavior-data-commands-rebirth-value", of=("NBIRTH",))
@each("operational-behavior-data-commands-rebirth-name-aliases", of=("NBIRTH",))
def offers_rebirth(m: Message) -> bool:
    metric = m.payload.metric("Node Control/Rebirth")
    return metric is not None and (metric.datatype, metric.value, metric.alias) == (11, False, None)


def _reborn(story: Story) -> list[tuple[Message, list[Message]]]:
    """Each rebirth request as it was delivered to a node, and what the node said after it."""
    out = []
    for connection in story.born():
        for heard in connection.heard:
            metric = heard.payload.metric("Node Control/Rebirth") if heard.kind == "NCMD" else None
            if metric is not None and metric.value is True:
                out.append((heard, [m for m in connection.of(*NUMBERED) if m.number > heard.number]))
    return some(out)


@asserts("operational-behavior-data-commands-rebirth-action-1")
def data_stops_at_a_rebirth_request(story: Story) -> None:
    """What was on its way when the request came may still be seen: a flush or two of two devices."""
    for heard, after in _reborn(story):
        at = next(n for n, message in enumerate(after) if message.kind == "NBIRTH")
        assert at <= 8, [message.packet.topic for message in after[:at]]
        assert after[at].seen.at_ms - heard.seen.at_ms < UTC_SLACK_MS


@asserts("operational-behavior-data-commands-rebirth-action-2")
def a_rebirth_is_the_whole_sequence(story: Story) -> None:
    for _, after in _reborn(story):
        at = next(n for n, message in enumerate(after) if message.kind == "NBIRTH")
        kinds = [(message.kind, message.device) for message in after[at : at + 3]]
        assert kinds == [("NBIRTH", None), ("DBIRTH", "C-1"), ("DBIRTH", "C-2")]
        assert after[at].payload.seq == 0


@asserts("operational-behavior-data-commands-rebirth-action-3")
def a_rebirth_keeps_bd_seq(story: Story) -> None:
    twice = some(connection for connection in story.born() if len(connection.of("NBIRTH")) > 1)
    for connection in twice:
        assert {m.bd_seq for m in connection.of("NBIRTH")} == {connection.will.bd_seq}


# --- ends -----------------------------------------------------------------------------------------


def _left(story: Story) -> list[Connection]:
    """Connections that a node ended of its own will."""
    return some(c for c in story.born() if c.first(Kind.DISCONNECT) is not None)


@asserts(
    "operational-behavior-edge-node-intentional-disconnect-ndeath",
    "payloads-ndeath-will-message-publisher",
    "payloads-ndeath-will-message-publisher-disconnect-mqtt311",
)
def ndeath_before_disconnect(story: Story) -> None:
    left = _left(story)
    assert {connection.client_id for connection in left} == {"g.plain", "g.wrap", "g.waits"}
    for connection in left:
        leave = connection.first(Kind.DISCONNECT)
        assert leave is not None
        assert connection.said[-1].kind == "NDEATH"
        assert connection.said[-1].number < leave.number


@asserts("operational-behavior-edge-node-intentional-disconnect-packet")
def disconnect_follows(story: Story) -> None:
    for connection in _left(story):
        said = [s for s in connection.seen if s.up and s.number > connection.said[-1].number]
        assert [s.packet.kind for s in said] == [Kind.DISCONNECT]


@asserts("operational-behavior-device-ddeath")
def a_device_that_is_lost_dies(story: Story) -> None:
    (death,) = story.between("C-2 dies", "C-2 is back", story.said("DDEATH"))
    assert (death.node, death.device) == (("g", "plain"), "C-2")
    births = story.between("C-2 is back", "host comes", story.said("DBIRTH"))
    assert [message.device for message in births] == ["C-2"]


# --- the primary host -----------------------------------------------------------------------------


def _waits(story: Story, first: str, last: str) -> list[str]:
    """Kinds of what `g.waits` said between two marks."""
    said = [message for connection in story.edges("g.waits") for message in connection.said]
    return [message.kind for message in story.between(first, last, said)]


@asserts(
    "message-flow-edge-node-birth-publish-phid-wait",
    "message-flow-edge-node-birth-publish-phid-wait-id",
    "message-flow-edge-node-birth-publish-phid-wait-online",
    "operational-behavior-edge-node-birth-sequence-wait",
)
def waits_for_its_own_host_online(story: Story) -> None:
    """Another host online and its own offline were both on the broker before the first mark."""
    assert _waits(story, "waits starts", "ph online") == []
    assert _waits(story, "ph online", "ph offline, older")[0] == "NBIRTH"
    heard = {m.packet.topic for m in story.edges("g.waits")[0].heard if m.kind == "STATE"}
    assert "spBv1.0/STATE/ph" in heard


@asserts("message-flow-edge-node-birth-publish-phid-wait-timestamp")
def an_older_online_does_not_count(story: Story) -> None:
    """2000 was the last one online; 1500 was delivered after it, and only 3000 brought births."""
    assert _waits(story, "ph away", "ph back") == []
    assert _waits(story, "ph back", "host starts")[0] == "NBIRTH"


@asserts("operational-behavior-edge-node-termination-host-offline-timestamp")
def an_older_offline_does_not_count(story: Story) -> None:
    kinds = _waits(story, "ph offline, older", "ph offline")
    assert len(kinds) >= 5
    assert set(kinds) <= {"DDATA", "NDATA"}


@asserts(
    "message-flow-edge-node-birth-publish-phid-offline",
    "operational-behavior-edge-node-termination-host-offline",
)
def leaves_when_its_host_is_offline(story: Story) -> None:
    connection = story.born("g.waits")[0]
    leave = connection.first(Kind.DISCONNECT)
    assert leave is not None
    assert story.record.marks["ph offline"] <= leave.number
    assert connection.said[-1].kind == "NDEATH"
    told = [m for m in connection.heard if m.kind == "STATE" and m.number >= story.record.marks["ph offline"]]
    (death,) = connection.of("NDEATH")
    assert death.number > told[0].number
    late = [m for m in connection.said if told[0].number < m.number < death.number]
    assert len(late) <= 2, "data went on after the host was offline"


@asserts("operational-behavior-edge-node-termination-host-offline-reconnect")
def begins_anew_after_its_host_went(story: Story) -> None:
    """With one server in its list the next one is the same."""
    first, second = story.edges("g.waits")[:2]
    assert second.connect.number > story.record.ended[first.number] - 2
    assert second.first(Kind.SUBSCRIBE) is not None


@asserts("operational-behavior-primary-application-state-with-multiple-servers-single-server")
def one_connection_at_a_time(story: Story) -> None:
    for client_id in ("g.plain", "g.wrap", "g.waits"):
        mine = story.edges(client_id)
        for before, after in itertools.pairwise(mine):
            leave = before.first(Kind.DISCONNECT)
            end = story.record.ended[before.number] if leave is None else leave.number
            assert end <= after.connect.number
