"""Assertions about our host: its STATE, its commands, and what it makes of deaths and gaps."""

from __future__ import annotations

from collections.abc import Callable

from tests.sparkplug.packets import Kind
from tests.sparkplug.registry import asserts
from tests.sparkplug.script import REORDER_MS
from tests.sparkplug.story import HOST, Connection, Message, Story, some

UTC_SLACK_MS = 2_000
TOPIC = f"spBv1.0/STATE/{HOST}"

# --- connection -----------------------------------------------------------------------------------


@asserts("message-flow-phid-sparkplug-clean-session-311")
def clean_session(story: Story) -> None:
    for connection in story.hosts:
        assert (connection.connect.packet.level, connection.connect.packet.clean) == (4, True)


@asserts(
    "host-topic-phid-death-required",
    "operational-behavior-host-application-connect-will",
    "payloads-state-will-message",
    "operational-behavior-host-application-connect-will-topic",
    "host-topic-phid-death-topic",
)
def connects_with_its_death_as_will(story: Story) -> None:
    assert all(connection.will.packet.topic == TOPIC for connection in story.hosts)


@asserts(
    "operational-behavior-host-application-connect-will-qos",
    "payloads-state-will-message-qos",
    "host-topic-phid-death-qos",
)
def will_qos_1(story: Story) -> None:
    assert all(connection.will.packet.qos == 1 for connection in story.hosts)


@asserts(
    "operational-behavior-host-application-connect-will-retained",
    "payloads-state-will-message-retain",
    "host-topic-phid-death-retain",
)
def will_retained(story: Story) -> None:
    assert all(connection.will.packet.retain for connection in story.hosts)


def _says(message: Message, *, online: bool) -> bool:
    stamp = message.state.get("timestamp")
    return message.state == {"online": online, "timestamp": stamp} and type(stamp) is int


@asserts(
    "host-topic-phid-death-payload",
    "operational-behavior-host-application-connect-will-payload",
    "operational-behavior-host-application-death-payload",
    "payloads-state-will-message-payload",
)
def will_payload(story: Story) -> None:
    for connection in story.hosts:
        assert _says(connection.will, online=False)
        assert abs(connection.will.state["timestamp"] - connection.connect.at_ms) < UTC_SLACK_MS


@asserts("host-topic-phid-death-payload-timestamp-connect")
def will_has_the_time_of_connecting(story: Story) -> None:
    stamps = [connection.will.state["timestamp"] for connection in story.hosts]
    assert stamps == sorted(set(stamps))
    for connection, stamp in zip(story.hosts, stamps, strict=True):
        assert abs(stamp - connection.connect.at_ms) < UTC_SLACK_MS


# --- birth ----------------------------------------------------------------------------------------


def _births(story: Story) -> list[tuple[Connection, Message]]:
    return [(connection, connection.said[0]) for connection in story.hosts]


@asserts(
    "host-topic-phid-birth-message",
    "host-topic-phid-birth-required",
    "operational-behavior-host-application-connect-birth",
    "operational-behavior-primary-application-state-with-multiple-servers-state",
    "message-flow-phid-sparkplug-state-publish",
)
def birth_is_the_first_message(story: Story) -> None:
    for _, birth in _births(story):
        assert (birth.kind, birth.state["online"]) == ("STATE", True)


@asserts("conformance-primary-host", "intro-sparkplug-host-state", "components-ph-state")
def says_both_online_and_offline(story: Story) -> None:
    assert story.host_states(online=True)
    assert story.host_states(online=False)


@asserts("host-topic-phid-birth-qos", "operational-behavior-host-application-connect-birth-qos")
def birth_qos_1(story: Story) -> None:
    assert all(birth.packet.qos == 1 for _, birth in _births(story))


@asserts("host-topic-phid-birth-retain", "operational-behavior-host-application-connect-birth-retained")
def birth_retained(story: Story) -> None:
    assert all(birth.packet.retain for _, birth in _births(story))


@asserts("host-topic-phid-birth-topic", "operational-behavior-host-application-connect-birth-topic")
def birth_topic(story: Story) -> None:
    assert all(birth.packet.topic == TOPIC for _, birth in _births(story))


@asserts("payloads-state-birth")
def birth_on_its_topic_at_qos_1_retained_after_subscribing(story: Story) -> None:
    for connection, birth in _births(story):
        asked = connection.first(Kind.SUBSCRIBE)
        assert asked is not None
        assert asked.number < birth.number
        assert (birth.packet.topic, birth.packet.qos, birth.packet.retain) == (TOPIC, 1, True)


@asserts(
    "host-topic-phid-birth-payload",
    "host-topic-phid-birth-payload-timestamp",
    "message-flow-phid-sparkplug-state-publish-payload",
    "message-flow-phid-sparkplug-state-publish-payload-timestamp",
    "operational-behavior-host-application-connect-birth-payload",
    "payloads-state-birth-payload",
)
def birth_has_the_timestamp_of_the_will(story: Story) -> None:
    for connection, birth in _births(story):
        assert _says(birth, online=True)
        assert birth.state["timestamp"] == connection.will.state["timestamp"]
        assert abs(birth.state["timestamp"] - birth.seen.at_ms) < UTC_SLACK_MS


@asserts(
    "host-topic-phid-birth-sub-required",
    "message-flow-phid-sparkplug-subscription",
    "payloads-state-subscribe",
)
def subscribes_before_its_birth(story: Story) -> None:
    for connection, birth in _births(story):
        granted = next(s for s in connection.seen if s.packet.kind is Kind.SUBACK)
        asked = connection.first(Kind.SUBSCRIBE)
        assert asked is not None
        names = [name for name, _ in asked.packet.filters]
        assert TOPIC in names
        assert "spBv1.0/#" in names
        assert asked.number < granted.number < birth.number
        before = [s.packet.kind for s in connection.seen if s.up and s.number < birth.number]
        assert [kind for kind in before if kind is not Kind.PUBACK] == [Kind.CONNECT, Kind.SUBSCRIBE]


@asserts("operational-behavior-host-application-host-id")
def its_id_is_its_own(story: Story) -> None:
    """Its client id is its host id: a broker holds one connection of it."""
    assert {connection.client_id for connection in story.hosts} == {HOST}
    ends = [story.record.ended[connection.number] for connection in story.hosts]
    starts = [connection.connect.number for connection in story.hosts]
    assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))


@asserts("message-flow-hid-sparkplug-state-message-delivered")
def contradicts_a_false_state(story: Story) -> None:
    said = story.between("false STATE", "host is cut", story.host_states(online=True))
    connection = next(c for c in story.hosts if c.number == some(said)[0].seen.connection)
    assert {m.state["timestamp"] for m in said} == {connection.will.state["timestamp"]}
    false = next(m for m in connection.heard if m.kind == "STATE" and m.state["timestamp"] == 1_000)
    assert false.number < said[0].number


# --- death ----------------------------------------------------------------------------------------


def _left(story: Story) -> list[tuple[Connection, Message]]:
    """Connections that the host ended of its own will, and its last word."""
    left = some(c for c in story.hosts if c.first(Kind.DISCONNECT) is not None)
    return [(connection, connection.said[-1]) for connection in left]


@asserts(
    "operational-behavior-host-application-termination",
    "host-topic-phid-death-payload-timestamp-disconnect-clean",
)
def says_offline_before_it_leaves(story: Story) -> None:
    for connection, death in _left(story):
        leave = connection.first(Kind.DISCONNECT)
        assert leave is not None
        assert _says(death, online=False)
        assert death.number < leave.number
        assert abs(death.state["timestamp"] - death.seen.at_ms) < UTC_SLACK_MS
        assert death.state["timestamp"] > connection.will.state["timestamp"]


@asserts("operational-behavior-host-application-death-topic")
def death_topic(story: Story) -> None:
    assert all(death.packet.topic == TOPIC for _, death in _left(story))


@asserts("operational-behavior-host-application-death-qos")
def death_qos_1(story: Story) -> None:
    assert all(death.packet.qos == 1 for _, death in _left(story))


@asserts("operational-behavior-host-application-death-retained")
def death_retained(story: Story) -> None:
    assert all(death.packet.retain for _, death in _left(story))


@asserts("operational-behavior-host-application-disconnect-intentional")
def disconnect_follows(story: Story) -> None:
    for connection, death in _left(story):
        up = [s.packet.kind for s in connection.seen if s.up and s.number > death.number]
        assert Kind.DISCONNECT in up
        assert Kind.PUBLISH not in up


# --- commands -------------------------------------------------------------------------------------


def _command(*ids: str) -> Callable[[Callable[[Message], bool]], Callable[[Message], bool]]:
    def register(holds: Callable[[Message], bool]) -> Callable[[Message], bool]:
        def check(story: Story) -> None:
            assert all(holds(message) for message in story.commands())

        asserts(*ids)(check)
        return holds

    return register


@_command("topics-ncmd-topic", "operational-behavior-data-commands-ncmd-verb")
def ncmd_topic(m: Message) -> bool:
    return m.packet.topic == f"spBv1.0/{m.node[0]}/NCMD/{m.node[1]}"


@_command("topics-ncmd-mqtt")
def ncmd_mqtt(m: Message) -> bool:
    return m.packet.qos == 0 and not m.packet.retain


@_command("payloads-ncmd-qos")
def ncmd_qos(m: Message) -> bool:
    return m.packet.qos == 0


@_command("payloads-ncmd-retain")
def ncmd_retain(m: Message) -> bool:
    return not m.packet.retain


@_command("topics-ncmd-timestamp", "payloads-ncmd-timestamp")
def ncmd_timestamp(m: Message) -> bool:
    return m.payload.timestamp is not None and abs(m.payload.timestamp - m.seen.at_ms) < UTC_SLACK_MS


@_command("payloads-ncmd-seq")
def ncmd_not_numbered(m: Message) -> bool:
    return m.payload.seq is None


@_command("topics-ncmd-payload")
def ncmd_payload(m: Message) -> bool:
    return bool(m.payload.metrics) and all(metric.field is not None for metric in m.payload.metrics)


def _offered(story: Story) -> dict[str | None, int | None]:
    """Every metric of the NBIRTHs, with its datatype."""
    return {metric.name: metric.datatype for _, metric in story.metrics("NBIRTH")}


@asserts("operational-behavior-data-commands-ncmd-metric-name")
def commands_write_what_births_offer(story: Story) -> None:
    offered = _offered(story)
    names = {metric.name for message in story.commands() for metric in message.payload.metrics}
    assert names == {"Node Control/Rebirth", "Outbox/Acknowledge"}
    assert names <= set(offered)


@asserts("operational-behavior-data-commands-ncmd-metric-value")
def commands_fit_the_datatype(story: Story) -> None:
    fields = {11: 14, 12: 15}
    offered = _offered(story)
    for message in story.commands():
        for metric in message.payload.metrics:
            assert metric.field == fields[offered[metric.name] or 0]


def _rebirths(story: Story) -> list[Message]:
    return some(m for m in story.commands() if m.payload.metric("Node Control/Rebirth") is not None)


@asserts("operational-behavior-data-commands-ncmd-rebirth-verb")
def rebirth_verb(story: Story) -> None:
    assert all(message.kind == "NCMD" for message in _rebirths(story))


@asserts("operational-behavior-data-commands-ncmd-rebirth-name")
def rebirth_name(story: Story) -> None:
    """Once: what was received before the births came is no reason to ask again."""
    asked = story.between("host comes", "plain is cut", _rebirths(story))
    assert [message.node for message in asked] == [("g", "plain")]


@asserts("operational-behavior-data-commands-ncmd-rebirth-value")
def rebirth_value(story: Story) -> None:
    for message in _rebirths(story):
        metric = message.payload.metric("Node Control/Rebirth")
        assert metric is not None
        assert metric.value is True


# --- the order of messages ------------------------------------------------------------------------


def _asked_of_gap(story: Story) -> list[Message]:
    return [message for message in _rebirths(story) if message.node[1] == "gap"]


@asserts("operational-behavior-host-reordering-param")
def the_timeout_can_be_set(story: Story) -> None:
    """The host that was recorded has another one than its default."""
    from collector.config import BrokerSection

    assert BrokerSection().reorder_timeout_ms != REORDER_MS


@asserts("operational-behavior-host-reordering-start", "operational-behavior-host-reordering-rebirth")
def a_gap_that_stays_asks_for_births_after_the_timeout(story: Story) -> None:
    (asked,) = _asked_of_gap(story)
    opened, opened_ms = story.facts["gap opened"]
    assert asked.number >= opened
    assert asked.seen.at_ms - opened_ms >= REORDER_MS * 0.9
    assert asked.seen.at_ms - opened_ms < REORDER_MS + 5_000


@asserts("operational-behavior-host-reordering-success")
def a_gap_that_heals_asks_for_nothing(story: Story) -> None:
    assert story.between("false STATE", "gap opens", _asked_of_gap(story)) == []
    assert story.record.marks["gap healed"] <= story.record.marks["gap opens"]


# --- what the host makes of deaths ----------------------------------------------------------------


def _stale(story: Story, when: str) -> dict[str, int]:
    """Stale points at that moment, and since when (ms)."""
    shown: dict[str, int | None] = story.facts[when]
    assert set(shown) == {"own", "D-1/t", "D-2/t"}
    return {name: since for name, since in shown.items() if since is not None}


@asserts(
    "operational-behavior-edge-node-termination-host-action-ddeath-devices-offline",
    "operational-behavior-edge-node-termination-host-action-ddeath-devices-tags-stale",
)
def a_dead_device_is_stale_since_the_time_of_its_death(story: Story) -> None:
    assert _stale(story, "alive") == {}
    assert _stale(story, "after DDEATH") == {"D-1/t": story.facts["DDEATH ms"]}


@asserts(
    "operational-behavior-edge-node-termination-host-action-ndeath-node-offline",
    "operational-behavior-edge-node-termination-host-action-ndeath-node-tags-stale",
    "operational-behavior-edge-node-termination-host-action-ndeath-devices-offline",
    "operational-behavior-edge-node-termination-host-action-ndeath-devices-tags-stale",
)
def a_dead_node_and_its_devices_are_stale_since_the_host_heard_it(story: Story) -> None:
    """A death of another bdSeq came before and changed nothing."""
    stale = _stale(story, "after NDEATH")
    first, last = story.facts["NDEATH ms"]
    assert set(stale) == {"own", "D-1/t", "D-2/t"}
    assert first - 1 <= stale["own"] <= last
    assert first - 1 <= stale["D-2/t"] <= last
