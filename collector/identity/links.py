"""Links: statements that a subject was in or on an object, each with valid and known time.

Owns roles, states and the chain of versions of one link (entered, corrected, confirmed, rejected),
as a fold over its rows. Must not know which readings a link selects (`resolve`) nor how scans end
each other's stays (`stays`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from collector.identity.ids import Kind, local_name
from collector.identity.rows import JournalRow, RowKind
from collector.identity.times import NS_PER_S, utc_text, utc_text_or_none

RETROACTIVE_AFTER_NS: Final = 15 * 60 * NS_PER_S
"""What is stated more than 15 minutes after it happened needs a second person (domain rules, case 4)."""


class Role(StrEnum):
    """What a link says, subject first."""

    INSTRUMENT_POINT = "instrument-point"
    POINT_LOCATION = "point-location"
    LOCATION_EQUIPMENT = "location-equipment"
    CONTAINER_EQUIPMENT = "container-equipment"
    BATCH_CONTAINER = "batch-container"
    POINT_EQUIPMENT = "point-equipment"
    BATCH_EQUIPMENT = "batch-equipment"
    BATCH_PARENT = "batch-parent"


ENDS: Final[Mapping[Role, tuple[Kind, Kind]]] = {
    Role.INSTRUMENT_POINT: (Kind.INSTRUMENT, Kind.POINT),
    Role.POINT_LOCATION: (Kind.POINT, Kind.LOCATION),
    Role.LOCATION_EQUIPMENT: (Kind.LOCATION, Kind.EQUIPMENT),
    Role.CONTAINER_EQUIPMENT: (Kind.CONTAINER, Kind.EQUIPMENT),
    Role.BATCH_CONTAINER: (Kind.BATCH, Kind.CONTAINER),
    Role.POINT_EQUIPMENT: (Kind.POINT, Kind.EQUIPMENT),
    Role.BATCH_EQUIPMENT: (Kind.BATCH, Kind.EQUIPMENT),
    Role.BATCH_PARENT: (Kind.BATCH, Kind.BATCH),
}
"""Kinds of subject and object that fit each role."""


class Source(StrEnum):
    """How a link came to be stated."""

    SCAN = "scan"
    TRIGGER = "trigger"
    MANUAL = "manual"
    IMPORT = "import"
    INFERRED = "inferred"


class State(StrEnum):
    """How far a version of a link may be relied on. Provisional counts at once; rejected is out."""

    PROVISIONAL = "provisional"
    CONFIRMED = "confirmed"
    REJECTED = "rejected"


class Probe(StrEnum):
    """Where a sensor is, as part of its link: at the product (or buffered like it), or in the air beside."""

    PRODUCT = "product"
    AIR = "air"


PROBED: Final = frozenset({Role.POINT_LOCATION, Role.POINT_EQUIPMENT})
"""Roles whose link may say where the probe is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One statement of a link; corrections add versions. `to_ns` None means open."""

    number: int
    object: str
    from_ns: int
    to_ns: int | None
    to_stated: bool
    actor: str
    reason: str
    known_ns: int
    state: State
    decided_by: str = ""
    decided_ns: int | None = None
    decided_reason: str = ""
    probe: str = ""

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "version": self.number,
            "object": self.object,
            "probe": self.probe or None,
            "from": utc_text(self.from_ns),
            "to": utc_text_or_none(self.to_ns),
            "actor": self.actor,
            "reason": self.reason,
            "known": utc_text(self.known_ns),
            "state": self.state.value,
            "decided_by": self.decided_by or None,
            "decided": utc_text_or_none(self.decided_ns),
            "decided_reason": self.decided_reason or None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A link with all its versions. `to_ns` is its end in force: stated, or made by a later act.

    `ended_by` names the act that ended it, `event` the scan that opened it.
    """

    id: str
    role: Role
    subject: str
    source: Source
    versions: tuple[Version, ...]
    to_ns: int | None = None
    ended_by: str = ""
    event: str = ""

    @property
    def current(self) -> Version:
        """The latest version that was not rejected; when all were, the first, to be shown."""
        standing = [version for version in self.versions if version.state is not State.REJECTED]
        return standing[-1] if standing else self.versions[0]

    @property
    def state(self) -> State:
        """Of the current version."""
        return self.current.state

    @property
    def object(self) -> str:
        """What the subject is in or on."""
        return self.current.object

    @property
    def from_ns(self) -> int:
        """Since when."""
        return self.current.from_ns

    @property
    def known_ns(self) -> int:
        """When the current version became known."""
        return self.current.known_ns

    def document(self) -> dict[str, Any]:
        """The link in JSON, as entered, with its end in force and its versions."""
        current = self.current
        return {
            "id": self.id,
            "subject": self.subject,
            "object": current.object,
            "role": self.role.value,
            "probe": current.probe or None,
            "from": utc_text(current.from_ns),
            "to": utc_text_or_none(self.to_ns),
            "ended_by": self.ended_by or None,
            "source": self.source.value,
            "state": current.state.value,
            "actor": current.actor,
            "reason": current.reason,
            "known": utc_text(current.known_ns),
            "event": self.event or None,
            "versions": [version.document() for version in self.versions],
        }


def opened(
    *,
    link_id: str,
    role: Role,
    subject: str,
    object_: str,
    from_ns: int,
    to_ns: int | None,
    source: Source,
    actor: str,
    reason: str,
    known_ns: int,
    stated_ns: int,
    event: str = "",
    probe: str = "",
) -> Link:
    """A new link of one version; `stated_ns` is when it was said, to tell what is retroactive."""
    retroactive = stated_ns - from_ns > RETROACTIVE_AFTER_NS
    by_hand = source in (Source.MANUAL, Source.IMPORT, Source.INFERRED)
    version = Version(
        number=1,
        object=object_,
        from_ns=from_ns,
        to_ns=to_ns,
        to_stated=to_ns is not None,
        actor=actor,
        reason=reason,
        known_ns=known_ns,
        state=State.PROVISIONAL if by_hand or retroactive else State.CONFIRMED,
        probe=probe,
    )
    return Link(
        id=link_id, role=role, subject=subject, source=source, versions=(version,), to_ns=to_ns, event=event
    )


def link_of_row(row: JournalRow) -> Link:
    """The link that a journal row of kind `link` enters."""
    body = row.body
    return opened(
        link_id=row.subject,
        role=Role(body["role"]),
        subject=body["subject"],
        object_=body["object"],
        from_ns=body["from_ns"],
        to_ns=body["to_ns"],
        source=Source(body["source"]),
        actor=row.actor,
        reason=row.reason,
        known_ns=row.known_at_ns,
        stated_ns=row.known_at_ns,
        probe=body.get("probe") or "",
    )


def amended(link: Link, row: JournalRow) -> Link:
    """The link after one correction, confirmation or rejection. Others leave it as it is."""
    match row.kind:
        case RowKind.LINK_CORRECTION:
            return _corrected(link, row)
        case RowKind.LINK_CONFIRMATION:
            return _decided(link, row, State.CONFIRMED)
        case RowKind.LINK_REJECTION:
            return _decided(link, row, State.REJECTED)
        case _:
            return link


def _corrected(link: Link, row: JournalRow) -> Link:
    body: Mapping[str, Any] = row.body
    base = link.current
    version = replace(
        base,
        number=len(link.versions) + 1,
        object=body.get("object", base.object),
        probe=body.get("probe", base.probe),
        from_ns=body.get("from_ns", base.from_ns),
        to_ns=body.get("to_ns", base.to_ns),
        to_stated=base.to_stated or "to_ns" in body,
        actor=row.actor,
        reason=row.reason,
        known_ns=row.known_at_ns,
        state=State.PROVISIONAL,
        decided_by="",
        decided_ns=None,
        decided_reason="",
    )
    return replace(link, versions=(*link.versions, version), to_ns=version.to_ns)


def _decided(link: Link, row: JournalRow, state: State) -> Link:
    """Confirm or reject the current version; rejecting a correction brings back what it corrected."""
    number = link.current.number
    versions = tuple(
        replace(
            version,
            state=state,
            decided_by=row.actor,
            decided_ns=row.known_at_ns,
            decided_reason=row.reason,
        )
        if version.number == number
        else version
        for version in link.versions
    )
    changed = replace(link, versions=versions)
    return replace(changed, to_ns=changed.current.to_ns)


@dataclass(frozen=True, slots=True)
class ImpliedLink:
    """A full-form link that a short form implies; never stored, never corrected by itself."""

    role: Role
    subject: str
    object: str
    of: str

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "role": self.role.value,
            "subject": self.subject,
            "object": self.object,
            "implied_by": self.of,
        }


def implied(link: Link) -> tuple[ImpliedLink, ...]:
    """The full-form links behind a short form, through a place or container of its own; else none."""
    if link.role is Role.POINT_EQUIPMENT:
        inside = f"{Kind.LOCATION}:in/{local_name(link.object)}"
        return (
            ImpliedLink(Role.POINT_LOCATION, link.subject, inside, link.id),
            ImpliedLink(Role.LOCATION_EQUIPMENT, inside, link.object, link.id),
        )
    if link.role is Role.BATCH_EQUIPMENT:
        whole = f"{Kind.CONTAINER}:of/{local_name(link.subject)}"
        return (
            ImpliedLink(Role.BATCH_CONTAINER, link.subject, whole, link.id),
            ImpliedLink(Role.CONTAINER_EQUIPMENT, whole, link.object, link.id),
        )
    return ()
