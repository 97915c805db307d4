"""Assertions about single messages of a node: topic, quality of service, envelope, metrics, properties."""

from __future__ import annotations

import itertools
import re

from tests.sparkplug.packets import Kind
from tests.sparkplug.registry import asserts, each
from tests.sparkplug.story import BIRTHS, DATA, EDGE_KINDS, NUMBERED, Message, Story, some

UTC_SLACK_MS = 2_000
AGE_MS_MAX = 60_000
_ID = re.compile(r"[^+/#]+")
_DATATYPES = range(1, 35)
_BASIC = (*range(1, 16), 20, 21)
_FIELD = {
    **dict.fromkeys((1, 2, 3, 5, 6, 7), 10),
    **dict.fromkeys((4, 8, 13), 11),
    9: 12,
    10: 13,
    11: 14,
    12: 15,
}

# --- topics ---------------------------------------------------------------------------------------


@asserts("topic-structure", "topic-structure-namespace-a")
def namespace_group_kind_node_device(story: Story) -> None:
    for connection in story.edges() + story.hosts:
        for message in [*connection.said, connection.will]:
            assert message.levels[0] == "spBv1.0"
            if message.kind == "STATE":
                assert len(message.levels) == 3
            else:
                assert message.kind in {*EDGE_KINDS, "NCMD"}
                assert len(message.levels) in {4, 5}


@each("topics-nbirth-topic", "message-flow-edge-node-birth-publish-nbirth-topic", of=("NBIRTH",))
@each("topics-ndata-topic", of=("NDATA",))
@each("topics-ndeath-topic", of=("NDEATH",))
def four_levels(m: Message) -> bool:
    return m.packet.topic == f"spBv1.0/g/{m.kind}/{m.node[1]}"


@each("topics-dbirth-topic", "message-flow-device-birth-publish-dbirth-topic", of=("DBIRTH",))
@each("topics-ddata-topic", of=("DDATA",))
@each("topics-ddeath-topic", of=("DDEATH",))
def five_levels(m: Message) -> bool:
    return m.packet.topic == f"spBv1.0/g/{m.kind}/{m.node[1]}/{m.device}" and bool(m.device)


@each("topic-structure-namespace-device-id-associated-message-types", of=("DBIRTH", "DDATA", "DDEATH"))
def with_device(m: Message) -> bool:
    return len(m.levels) == 5


@asserts("topic-structure-namespace-device-id-non-associated-message-types")
def without_device(story: Story) -> None:
    for message in story.said("NBIRTH", "NDATA", "NDEATH") + story.commands():
        assert len(message.levels) == 4
    assert all(len(message.levels) == 3 for message in story.host_states(online=True))


@each("intro-group-id-string", "intro-group-id-chars", of=EDGE_KINDS)
@each("topic-structure-namespace-valid-group-id", of=EDGE_KINDS)
def group_is_an_id(m: Message) -> bool:
    return bool(_ID.fullmatch(m.node[0]))


@each("intro-edge-node-id-string", "intro-edge-node-id-chars", of=EDGE_KINDS)
@each("topic-structure-namespace-valid-edge-node-id", of=EDGE_KINDS)
def node_is_an_id(m: Message) -> bool:
    return bool(_ID.fullmatch(m.node[1]))


@each("intro-device-id-string", "intro-device-id-chars", of=("DBIRTH", "DDATA", "DDEATH"))
@each("topic-structure-namespace-valid-device-id", of=("DBIRTH", "DDATA", "DDEATH"))
def device_is_an_id(m: Message) -> bool:
    return bool(_ID.fullmatch(m.device or ""))


@asserts(
    "intro-edge-node-id-uniqueness",
    "topic-structure-namespace-unique-edge-node-descriptor",
    "payloads-nbirth-edge-node-descriptor",
)
def one_client_a_descriptor(story: Story) -> None:
    """The client id is the descriptor: a broker holds one connection of it, so a second node cannot stay."""
    stories = story.born()
    for connection in stories:
        assert {".".join(m.node) for m in connection.of(*EDGE_KINDS)} == {connection.client_id}
    ends = story.record.ended
    for before, after in itertools.pairwise(stories):
        if before.client_id == after.client_id:
            assert ends[before.number] <= after.connect.number
    assert len({connection.client_id for connection in stories}) == 3


@asserts("topic-structure-namespace-unique-device-id")
def a_device_is_born_once_in_a_birth_sequence(story: Story) -> None:
    for connection in story.born():
        devices: set[str | None] = set()
        for message in connection.of("NBIRTH", "DBIRTH", "DDEATH"):
            if message.kind == "NBIRTH":
                devices.clear()
            elif message.kind == "DDEATH":
                devices.discard(message.device)
            else:
                assert message.device not in devices
                devices.add(message.device)


@asserts("topic-structure-namespace-duplicate-device-id-across-edge-node")
def two_nodes_have_a_device_of_one_name(story: Story) -> None:
    assert len({m.node for m in story.said("DBIRTH") if m.device == "C-1"}) > 1


@asserts("case-sensitivity-sparkplug-ids")
def ids_differ_beyond_case(story: Story) -> None:
    ids = {(*m.node, m.device or "") for m in story.said(*EDGE_KINDS)}
    for level in range(3):
        names = {one[level] for one in ids}
        assert len({name.lower() for name in names}) == len(names)


@asserts("case-sensitivity-metric-names")
def names_differ_beyond_case(story: Story) -> None:
    for message in story.said(*BIRTHS):
        names = [metric.name or "" for metric in message.payload.metrics]
        assert len({name.lower() for name in names}) == len(names)


# --- quality of service and retain ----------------------------------------------------------------

_FLOW = {"NBIRTH": "message-flow-edge-node-birth-publish-n", "DBIRTH": "message-flow-device-birth-publish-d"}


def qos_0(m: Message) -> bool:
    return m.packet.qos == 0


def not_retained(m: Message) -> bool:
    return not m.packet.retain


def qos_0_not_retained(m: Message) -> bool:
    return qos_0(m) and not_retained(m)


for _kind in ("NBIRTH", "DBIRTH", "NDATA", "DDATA"):
    each(f"payloads-{_kind.lower()}-qos", of=(_kind,))(qos_0)
    each(f"payloads-{_kind.lower()}-retain", of=(_kind,))(not_retained)
    each(f"topics-{_kind.lower()}-mqtt", of=(_kind,))(qos_0_not_retained)
for _kind, _prefix in _FLOW.items():
    each(f"{_prefix}birth-qos", of=(_kind,))(qos_0)
    each(f"{_prefix}birth-retained", of=(_kind,))(not_retained)
each("topics-ddeath-mqtt", of=("DDEATH",))(qos_0_not_retained)

# --- the envelope ---------------------------------------------------------------------------------


def sent_now(m: Message) -> bool:
    return m.payload.timestamp is not None and abs(m.seen.at_ms - m.payload.timestamp) < UTC_SLACK_MS


for _kind in NUMBERED:
    each(f"payloads-{_kind.lower()}-timestamp", of=(_kind,))(sent_now)
for _kind in ("NBIRTH", "DBIRTH", "NDATA", "DDATA"):
    each(f"topics-{_kind.lower()}-timestamp", of=(_kind,))(sent_now)
each("payloads-timestamp-in-UTC", of=NUMBERED)(sent_now)


@each("payloads-sequence-num-always-included", of=NUMBERED)
@each("payloads-dbirth-seq", of=("DBIRTH",))
@each("payloads-ndata-seq", of=("NDATA",))
@each("payloads-ddata-seq", of=("DDATA",))
@each("payloads-ddeath-seq", "payloads-ddeath-seq-number", of=("DDEATH",))
@each("payloads-nbirth-seq", "payloads-sequence-num-req-nbirth", of=("NBIRTH",))
@each("message-flow-edge-node-birth-publish-nbirth-payload-seq", of=("NBIRTH",))
def numbered(m: Message) -> bool:
    return m.payload.seq is not None and 0 <= m.payload.seq <= 255


@each("topics-nbirth-seq-num", of=("NBIRTH",))
def numbered_zero(m: Message) -> bool:
    return m.payload.seq == 0


@asserts(
    *(f"topics-{kind}-seq" for kind in ("dbirth",)),
    *(f"topics-{kind}-seq-num" for kind in ("ndata", "ddata", "ddeath")),
    *(f"payloads-{kind}-seq-inc" for kind in ("dbirth", "ndata", "ddata", "ddeath")),
    "payloads-sequence-num-incrementing",
    "message-flow-device-birth-publish-dbirth-payload-seq",
)
def numbers_rise_by_one_and_wrap(story: Story) -> None:
    wrapped: set[int | None] = set()
    for connection in story.born():
        before = None
        for message in connection.of(*NUMBERED):
            seq = message.payload.seq
            if message.kind != "NBIRTH":
                assert before is not None
                assert seq == (before + 1) % 256, f"{message.packet.topic} at {message.number}"
                wrapped.add(seq if before == 255 else None)
            before = seq
    assert 0 in wrapped


@each("topics-ndeath-seq", "payloads-ndeath-seq", of=("NDEATH",))
def not_numbered(m: Message) -> bool:
    return m.payload.seq is None


@each("message-flow-edge-node-birth-publish-nbirth-payload", of=("NBIRTH",))
@each("message-flow-device-birth-publish-dbirth-payload", of=("DBIRTH",))
def protobuf(m: Message) -> bool:
    return len(m.payload.metrics) > 0


# --- metrics --------------------------------------------------------------------------------------


@each("topics-nbirth-metrics", of=("NBIRTH",))
@each("topics-dbirth-metrics", of=("DBIRTH",))
@each("payloads-metric-datatype-req", of=BIRTHS)
@each("payloads-name-requirement", of=BIRTHS)
def named_typed_and_valued(m: Message) -> bool:
    return all(
        bool(metric.name) and metric.datatype is not None and (metric.is_null or metric.field is not None)
        for metric in m.payload.metrics
    )


@each("operational-behavior-data-publish-nbirth-values", of=("NBIRTH",))
@each("operational-behavior-data-publish-dbirth-values", of=("DBIRTH",))
def value_or_null_never_both(m: Message) -> bool:
    return all(bool(metric.is_null) != (metric.field is not None) for metric in m.payload.metrics)


@asserts("payloads-metric-datatype-value-type", "payloads-metric-datatype-value")
def datatype_is_one_of_the_enumerated_and_the_value_fits(story: Story) -> None:
    for _, metric in story.metrics(*BIRTHS):
        assert metric.datatype in _DATATYPES
        assert metric.field in {None, _FIELD[metric.datatype or 0]}


@asserts("payloads-metric-datatype-not-req")
def no_datatype_in_data_and_commands(story: Story) -> None:
    commands = [metric for message in story.commands() for metric in message.payload.metrics]
    assert all(metric.datatype is None for metric in commands)
    assert all(metric.datatype is None for _, metric in story.metrics(*DATA))


@asserts("payloads-name-birth-data-requirement")
def every_metric_has_its_time(story: Story) -> None:
    assert all(metric.timestamp is not None for _, metric in story.metrics(*BIRTHS, *DATA))


@asserts("payloads-name-cmd-requirement")
def commands_may_have_times(story: Story) -> None:
    for message in story.commands():
        for metric in message.payload.metrics:
            assert metric.timestamp is None or abs(metric.timestamp - message.seen.at_ms) < UTC_SLACK_MS


@asserts("payloads-metric-timestamp-in-UTC")
def times_of_readings_are_utc(story: Story) -> None:
    for message, metric in story.metrics(*DATA):
        assert metric.timestamp is not None
        assert -UTC_SLACK_MS < message.seen.at_ms - metric.timestamp < AGE_MS_MAX


def _declared(story: Story, kind: str, data: str) -> None:
    """Each data metric is in the node's last birth of this kind before it, by alias or by name."""
    for connection in story.born():
        known: dict[tuple[str, str | None], set[int | str | None]] = {}
        for message in connection.of(kind, data):
            where = (message.node[1], message.device)
            if message.kind == kind:
                known[where] = {m.alias if m.alias is not None else m.name for m in message.payload.metrics}
                continue
            for metric in message.payload.metrics:
                assert (metric.alias if metric.alias is not None else metric.name) in known[where]
    some(story.said(data))


@asserts("topics-nbirth-metric-reqs", "operational-behavior-data-publish-nbirth")
def nbirth_lists_all(story: Story) -> None:
    _declared(story, "NBIRTH", "NDATA")


@asserts("topics-dbirth-metric-reqs", "operational-behavior-data-publish-dbirth")
def dbirth_lists_all(story: Story) -> None:
    _declared(story, "DBIRTH", "DDATA")


@asserts("topics-ddata-payload")
def every_answer_of_the_device_is_told(story: Story) -> None:
    """The device counts its answers: a run without a gap is every change there was."""
    first = story.born("g.wrap")[0]
    told = [m.value for message in first.of("DDATA") for m in message.payload.metrics if m.alias is not None]
    numbers = [value for value in some(told) if isinstance(value, int)]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


@asserts("topics-ndata-payload")
def the_event_is_told(story: Story) -> None:
    texts = [str(m.value) for _, m in story.metrics("NDATA") if m.name == "Journal/Event"]
    assert any("heard" in text for text in texts)


@asserts("operational-behavior-data-publish-nbirth-order", "operational-behavior-data-publish-dbirth-order")
def live_metrics_are_in_order_of_time(story: Story) -> None:
    for message in story.said(*DATA):
        times = [metric.timestamp or 0 for metric in message.payload.metrics if not metric.is_historical]
        assert times == sorted(times), f"{message.packet.topic} at {message.number}"


@asserts("payloads-alias-uniqueness")
def an_alias_is_one_metric_of_the_node(story: Story) -> None:
    for client_id in ("g.plain", "g.wrap", "g.waits"):
        owners: dict[int, set[tuple[str | None, str | None]]] = {}
        for connection in story.born(client_id):
            for message in connection.of(*BIRTHS):
                for metric in message.payload.metrics:
                    if metric.alias is not None:
                        owners.setdefault(metric.alias, set()).add((message.device, metric.name))
        assert all(len(names) == 1 for names in some(owners.values()))


@asserts("payloads-alias-birth-requirement")
def an_alias_comes_with_its_name(story: Story) -> None:
    """Control metrics have none (the one for rebirths must not); whatever is measured has both."""
    for message, metric in story.metrics(*BIRTHS):
        assert metric.name
        own = metric.name == "bdSeq" or metric.name.split("/")[0] in {
            *("Node Control", "Outbox", "Agent", "Config", "Limits", "Journal")
        }
        assert (metric.alias is None) is own, f"{metric.name} in {message.packet.topic}"


@asserts("payloads-alias-data-cmd-requirement")
def data_says_the_alias_and_not_the_name(story: Story) -> None:
    for _, metric in story.metrics(*DATA):
        assert (metric.alias is None) is (metric.name is not None)
    some(metric for _, metric in story.metrics("DDATA") if metric.alias is not None)
    some(metric for _, metric in story.metrics("NDATA") if metric.name == "Journal/Event")


# --- properties -----------------------------------------------------------------------------------


@asserts("payloads-propertyset-keys-array-size", "payloads-propertyset-values-array-size")
def as_many_keys_as_values(story: Story) -> None:
    with_keys = some(
        metric for _, metric in story.metrics(*BIRTHS, *DATA) if metric.keys or metric.properties
    )
    assert all(len(metric.keys) == len(metric.properties) for metric in with_keys)


@asserts(
    "payloads-metric-propertyvalue-type-type",
    "payloads-metric-propertyvalue-type-value",
    "payloads-metric-propertyvalue-type-req",
)
def property_types(story: Story) -> None:
    found = some(one for _, metric in story.metrics(*BIRTHS, *DATA) for one in metric.properties)
    for one in found:
        assert one.type in _BASIC
        assert one.field is None or one.field == _FIELD[one.type or 0] - 7


@asserts("payloads-propertyset-quality-value-type")
def quality_is_int32(story: Story) -> None:
    assert {one.type for one in _qualities(story)} == {3}


@asserts("payloads-propertyset-quality-value-value")
def quality_is_one_of_three(story: Story) -> None:
    found = _qualities(story)
    assert {one.field for one in found} == {3}
    assert {one.value for one in found} <= {0, 192, 500}


def _qualities(story: Story) -> list:  # type: ignore[type-arg]
    return some(one for _, m in story.metrics(*DATA) if (one := m.property("Quality")) is not None)


# --- what a connection needs ----------------------------------------------------------------------


@asserts("principles-persistence-clean-session-311")
def clean_session(story: Story) -> None:
    for connection in story.edges():
        assert connection.connect.packet.level == 4
        assert connection.connect.packet.clean


@asserts("message-flow-edge-node-ncmd-subscribe")
def subscribes_to_its_commands_at_qos_1_before_its_birth(story: Story) -> None:
    for connection in story.edges():
        asked = connection.first(Kind.SUBSCRIBE)
        assert asked is not None
        assert (f"spBv1.0/g/NCMD/{connection.client_id[2:]}", 1) in asked.packet.filters
        assert all(asked.number < message.number for message in connection.of("NBIRTH"))
