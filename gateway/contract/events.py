"""Journal events: what a gateway tells about itself and about scans, one JSON schema a kind.

Owns the event models and their canonical text, which travels in the metric `Journal/Event`. Schemas
only grow: unknown fields are ignored and unknown kinds kept as text. Must not know what the
collector concludes from an event.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    TypeAdapter,
    ValidationError,
)

from gateway.contract.segment import NUMBER_MAX

EVENT_METRIC: Final = "Journal/Event"
EVENT_BYTES_MAX: Final = 12_000
"""UTF-8 bytes of one event: it must fit a segment of 16 kB beside its identity and clock."""
TEXT_MAX: Final = 2_000
"""Characters of one free text in an event."""


def _only_text(value: object) -> object:
    """Times are RFC 3339 texts: a bare number has no unit and is refused."""
    if isinstance(value, str | datetime):
        return value
    msg = "a time is an RFC 3339 text with offset"
    raise ValueError(msg)


def _utc(value: datetime) -> datetime:
    try:
        utc = value.astimezone(UTC)
    except OverflowError:
        utc = None
    if utc is None or not 1970 <= utc.year < 2262:  # a board without a battery begins in 1970
        msg = "a time must lie in the years 1970 to 2261, which 64-bit nanoseconds hold"
        raise ValueError(msg)
    return utc


def time_text(time: datetime) -> str:
    """RFC 3339 in UTC with `Z`, to the millisecond, or to the microsecond where it is needed."""
    spec = "microseconds" if time.microsecond % 1000 else "milliseconds"
    return time.astimezone(UTC).isoformat(timespec=spec).replace("+00:00", "Z")


Time: TypeAlias = Annotated[
    AwareDatetime,
    BeforeValidator(_only_text),
    AfterValidator(_utc),
    PlainSerializer(time_text, when_used="json"),
]
Word: TypeAlias = Annotated[str, Field(min_length=1, max_length=200)]
Name: TypeAlias = Annotated[str, Field(max_length=200)]
"""A word that may be missing."""
DoorAct: TypeAlias = Literal["put_in", "take_out", "move", "receive", "hand_over"]
"""What a person at a door says happened to a batch."""
Text: TypeAlias = Annotated[str, Field(max_length=TEXT_MAX)]
PointText: TypeAlias = Annotated[str, Field(min_length=1, max_length=401)]
"""A point of this node as `device/name`, of at most 200 characters each."""
Points: TypeAlias = tuple[PointText, ...]
Count: TypeAlias = Annotated[int, Field(ge=0, le=NUMBER_MAX)]
"""Anything counted: stores keep it as a signed 64-bit integer."""
Number: TypeAlias = Annotated[int, Field(ge=1, le=NUMBER_MAX)]
Numbers: TypeAlias = tuple[Number, Number]
"""First and last segment number, both inclusive."""


class EventBase(BaseModel):
    """What every event has. `id` is made where the event is made and names it for ever."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        validate_by_name=True,
        validate_by_alias=True,
        allow_inf_nan=False,
    )

    later: ClassVar[frozenset[str]] = frozenset()
    """Fields added since the kind was first sent: left out of the text at their default, as before."""

    id: Word
    time: Time
    actor: Annotated[str, Field(max_length=200)] = ""
    note: Text = ""


class Scan(EventBase):
    """A person scanned a batch into, out of or between equipment.

    `time` is when the scan was made; `effective` when it truly happened, if that was not then. `batch` is
    the code as scanned; for an unreadable label it is the name that the door gave it, written on the bag.
    `party` is to whom something was handed over, or from whom it came; `door` which scanner or page told.
    """

    later = frozenset({"label", "party", "door"})
    kind: Literal["scan"] = "scan"
    act: DoorAct
    batch: Word
    equipment: Word
    effective: Time | None = None
    label: Literal["read", "unreadable"] = "read"
    party: Name = ""
    door: Name = ""


class ManualReading(EventBase):
    """A person read an instrument: a value in its unit (UCUM), evidence of its own and never a sample.

    `effective` is when it was read, if that was not `time`; `quantity` what was read, temperature say.
    """

    kind: Literal["manual_reading"] = "manual_reading"
    equipment: Word
    quantity: Name = ""
    value: float
    unit: Annotated[str, Field(min_length=1, max_length=50)]
    batch: Name = ""
    effective: Time | None = None
    door: Name = ""


class Note(EventBase):
    """A remark in free words (`note`), about a batch or a piece of equipment where given."""

    kind: Literal["note"] = "note"
    batch: Annotated[str, Field(max_length=200)] = ""
    equipment: Annotated[str, Field(max_length=200)] = ""


class LimitFinding(EventBase):
    """The gateway's own verdict on a limit, opened and later closed under the same `id`."""

    kind: Literal["finding"] = "finding"
    detector: Literal["limit"] = "limit"
    rule: Word
    version: int
    point: PointText
    side: Literal["high", "low"]
    state: Literal["open", "closed"]
    from_: Annotated[Time, Field(alias="from")]
    to: Time | None = None
    peak: float
    sentence: Text = ""


class Detection(EventBase):
    """What a detector on the gateway noticed: advice, opened and later closed under the same `id`.

    `score` is 0 to 1, 0.5 at the threshold; `raw` and `threshold` are in the detector's own measure;
    `parameters` is the hash of everything that shaped it. `expected`: the earliest, likely and latest time
    at which a limit will be passed, where the detector can tell. The same readings give the same `id`.
    """

    kind: Literal["detection"] = "detection"
    detector: Word
    version: Annotated[int, Field(ge=0)]
    parameters: Word
    point: PointText
    state: Literal["open", "closed"]
    from_: Annotated[Time, Field(alias="from")]
    to: Time | None = None
    score: Annotated[float, Field(ge=0, le=1)]
    raw: float
    threshold: float
    value: float | None = None
    unit: Annotated[str, Field(max_length=50)] = ""
    expected: tuple[Time, Time, Time] | None = None
    sentence: Text = ""


class ConfigChange(EventBase):
    """The agent started with another configuration than the last time."""

    kind: Literal["config_change"] = "config_change"
    config_hash: Word
    previous_hash: str = ""
    limits_hash: str = ""
    agent_version: str = ""


class Absence(EventBase):
    """These points have no readings from `from` to `to`; open while `to` is null. `id` stays the same."""

    kind: Literal["absence"] = "absence"
    points: Points
    boot: Word
    from_: Annotated[Time, Field(alias="from")]
    to: Time | None = None
    reason: Word


class AgentDown(EventBase):
    """The agent did not run from the last slot it knows to its start."""

    kind: Literal["agent_down"] = "agent_down"
    points: Points = ()
    boot: Word
    from_: Annotated[Time, Field(alias="from")]
    to: Time
    reason: Annotated[str, Field(max_length=200)] = ""


class Loss(EventBase):
    """Segments that will never arrive, by number. A committed one settles them.

    `digests`: of the last number of each range where known, in order; it commits to the chain before it.
    """

    kind: Literal["loss"] = "loss"
    epoch: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
    ranges: tuple[Numbers, ...]
    digests: tuple[Annotated[str, Field(pattern="^[0-9a-f]{64}$")], ...] = ()
    readings: Count = 0
    cause: Word


class ClockStep(EventBase):
    """The wall clock was set. `step_s` is new minus old; the two walls belong to one monotonic instant."""

    kind: Literal["clock_step"] = "clock_step"
    boot: Word
    monotonic_ns: Annotated[int, Field(ge=0)]
    before: Time
    after: Time
    step_s: float


class RolledBack(EventBase):
    """The outbox was restored to an older state: receipts ran past its last number. A new epoch began.

    `upto` is the highest number that a receipt spoke of, `last_number` the last one of this store. What
    had no receipt goes again under the new epoch: the numbers of `moved`, in order, became `moved_to`,
    `moved_to` + 1, ... Such a statement settles the old numbers. A long list comes in several events.
    """

    kind: Literal["rolled_back"] = "rolled_back"
    old_epoch: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
    new_epoch: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
    upto: Count
    last_number: Count
    moved: tuple[Numbers, ...] = ()
    moved_to: Count = 0
    cause: Annotated[str, Field(max_length=200)] = ""


class OutboxFilling(EventBase):
    """What waits for its receipt passed 50, 80 or 95 per cent of what the outbox may hold, up or down.

    `percent` is the level that was reached (0: below all), `before` the one left.
    """

    kind: Literal["outbox_filling"] = "outbox_filling"
    percent: Annotated[int, Field(ge=0, le=100)]
    before: Annotated[int, Field(ge=0, le=100)]
    bytes: Annotated[int, Field(ge=0)]
    bytes_max: Annotated[int, Field(ge=0)]
    oldest: Time | None = None
    full_in_s: Annotated[float, Field(ge=0)] | None = None


class UnknownEvent(BaseModel):
    """A text that is no event of ours (yet): kept as it is, with what is wrong with it."""

    model_config = ConfigDict(frozen=True)

    text: str
    problem: str


Event: TypeAlias = (
    Scan
    | ManualReading
    | Note
    | LimitFinding
    | Detection
    | ConfigChange
    | Absence
    | AgentDown
    | Loss
    | ClockStep
    | RolledBack
    | OutboxFilling
)

_EVENT: Final[TypeAdapter[Event]] = TypeAdapter(Annotated[Event, Field(discriminator="kind")])


def parse_event(text: str) -> Event | UnknownEvent:
    """The event in this text; anything else comes back as UnknownEvent, never as an exception."""
    try:
        return _EVENT.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        return UnknownEvent(text=text, problem=f"{where}: {first['msg']}" if where else first["msg"])


def event_text(event: Event) -> str:
    """Canonical JSON: keys sorted, no spaces, UTF-8, null fields kept. Raises ValueError when too long."""
    unsaid = {name for name in event.later if getattr(event, name) == type(event).model_fields[name].default}
    fields: dict[str, Any] = event.model_dump(mode="json", by_alias=True, exclude=unsaid)
    text = json.dumps(
        fields,
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
    )
    if len(text.encode()) > EVENT_BYTES_MAX:
        msg = f"event {event.kind} {event.id} is over {EVENT_BYTES_MAX} bytes: split it"
        raise ValueError(msg)
    return text


def event_schema() -> dict[str, Any]:
    """The JSON schema of all kinds, as the documentation and other implementations need it."""
    return _EVENT.json_schema()
