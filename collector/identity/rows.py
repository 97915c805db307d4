"""What the fold reads: rows of the journal and scan acts of the ledger, as plain values.

Owns their shapes only. The registry makes `JournalRow`s, whoever follows the ledger makes
`ScanAct`s (`scan_act`); neither is ever changed afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Protocol

from collector.identity.times import ns_of


class RowKind(StrEnum):
    """Kinds of journal rows. The list only grows."""

    EQUIPMENT = "equipment"
    LOCATION = "location"
    INSTRUMENT = "instrument"
    CONTAINER = "container"
    BATCH = "batch"
    BATCH_ALIAS = "batch_alias"
    CONTAINER_IDENTIFICATION = "container_identification"
    CONTAINER_IDENTIFICATION_CONFIRMATION = "container_identification_confirmation"
    CONTAINER_IDENTIFICATION_REJECTION = "container_identification_rejection"
    PRODUCT_PROFILE = "product_profile"
    RULE = "rule"
    LINK = "link"
    LINK_CORRECTION = "link_correction"
    LINK_CONFIRMATION = "link_confirmation"
    LINK_REJECTION = "link_rejection"
    EVENT = "event"
    EXCEPTION_ASSIGNMENT = "exception_assignment"
    EXCEPTION_RESOLUTION = "exception_resolution"
    EXCEPTION_REOPENING = "exception_reopening"
    IMPORT = "import"
    IMPORT_MAP = "import_map"
    IMPORT_PROPOSAL = "import_proposal"
    IMPORT_CONFIRMATION = "import_confirmation"
    IMPORT_REJECTION = "import_rejection"
    MANUAL_READING = "manual_reading"
    MANUAL_CORRECTION = "manual_correction"
    MANUAL_CONFIRMATION = "manual_confirmation"
    MANUAL_REJECTION = "manual_rejection"
    CUSTODY = "custody"
    ALARM = "alarm"
    """A command about an alarm."""
    ALARM_SILENCE = "alarm_silence"
    """A collector that listened has not heard a node for long."""
    CERTIFICATE = "certificate"
    CERTIFICATE_CORRECTION = "certificate_correction"
    CERTIFICATE_CONFIRMATION = "certificate_confirmation"
    CERTIFICATE_REJECTION = "certificate_rejection"
    EXPECTATION = "expectation"
    RETENTION = "retention"
    HOLD = "hold"
    HOLD_RELEASE = "hold_release"
    SIGNATURE = "signature"
    USER = "user"
    TOKEN = "token"  # noqa: S105 - a kind of row


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalRow:
    """One decision: who, when it became known, about what. `id` rises by one; `body` is its JSON."""

    id: int
    known_at_ns: int
    actor: str
    kind: str
    subject: str
    body: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""


UNREADABLE: Final = "unreadable"
"""The label of an act whose `batch` is only the name that a door gave a container nobody could read."""


class Act(StrEnum):
    """What a person at the door says happened."""

    PUT_IN = "put_in"
    TAKE_OUT = "take_out"
    MOVE = "move"
    RECEIVE = "receive"
    HAND_OVER = "hand_over"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanAct:
    """One act with what was scanned, as scanned.

    `time_ns` is when it was scanned, `effective_ns` when it truly happened if that differs,
    `known_ns` when the collector had it on disk, (ledger, index) its place in known order;
    ledger 0 for an act that was posted here, then `journal` is its row.
    """

    event_id: str
    act: str
    batch: str
    equipment: str
    time_ns: int
    known_ns: int
    effective_ns: int | None = None
    ledger: int = 0
    index: int = 0
    journal: int = 0
    actor: str = ""
    note: str = ""
    node: str = ""
    party: str = ""
    source: str = "scan"
    """How it came to be stated: a scan, or `manual` where a person entered it by hand."""
    label: str = "read"
    """`unreadable`: `batch` is no name on a label but the one that the door gave the container."""

    @property
    def valid_ns(self) -> int:
        """When it happened in the world."""
        return self.time_ns if self.effective_ns is None else self.effective_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class ManualAct:
    """What a person at a door read off an instrument; ledger 0 when it was posted here."""

    event_id: str
    equipment: str
    value: float
    unit: str
    time_ns: int
    known_ns: int
    quantity: str = ""
    batch: str = ""
    effective_ns: int | None = None
    ledger: int = 0
    actor: str = ""
    note: str = ""


class ScanEvent(Protocol):
    """What `scan_act` needs of the contract's `Scan`."""

    @property
    def id(self) -> str: ...
    @property
    def time(self) -> datetime: ...
    @property
    def actor(self) -> str: ...
    @property
    def note(self) -> str: ...
    @property
    def act(self) -> str: ...
    @property
    def batch(self) -> str: ...
    @property
    def equipment(self) -> str: ...
    @property
    def effective(self) -> datetime | None: ...


def scan_act(event: ScanEvent, *, ledger: int, known_ns: int, node: str, index: int = 0) -> ScanAct:
    """The act of a `Scan` event found in ledger row `ledger` at `index`; `node` is `group/node`."""
    return ScanAct(
        event_id=event.id,
        act=str(event.act),
        batch=event.batch,
        equipment=event.equipment,
        time_ns=ns_of(event.time),
        effective_ns=None if event.effective is None else ns_of(event.effective),
        known_ns=known_ns,
        ledger=ledger,
        index=index,
        actor=event.actor,
        note=event.note,
        node=node,
        party=str(getattr(event, "party", "")),
        label=str(getattr(event, "label", "read")),
    )


class ManualEvent(Protocol):
    """What `manual_act` needs of the contract's `ManualReading`."""

    @property
    def id(self) -> str: ...
    @property
    def time(self) -> datetime: ...
    @property
    def actor(self) -> str: ...
    @property
    def note(self) -> str: ...
    @property
    def equipment(self) -> str: ...
    @property
    def batch(self) -> str: ...
    @property
    def quantity(self) -> str: ...
    @property
    def value(self) -> float: ...
    @property
    def unit(self) -> str: ...
    @property
    def effective(self) -> datetime | None: ...


def manual_act(event: ManualEvent, *, ledger: int, known_ns: int) -> ManualAct:
    """What a `ManualReading` event of ledger row `ledger` says."""
    return ManualAct(
        event_id=event.id,
        equipment=event.equipment,
        value=event.value,
        unit=event.unit,
        time_ns=ns_of(event.time),
        known_ns=known_ns,
        quantity=event.quantity,
        batch=event.batch,
        effective_ns=None if event.effective is None else ns_of(event.effective),
        ledger=ledger,
        actor=event.actor,
        note=event.note,
    )
