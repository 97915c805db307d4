"""Facts: everything known about identities at one position, as a fold over rows and acts.

Owns the fold and the lookups by id, name or number. Nothing is guessed: a name that fits nothing,
or several things, becomes a `Problem`. Must not know where rows are stored or readings come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from collector.identity.errors import AmbiguousIdentityError, UnacceptableError, UnknownIdentityError
from collector.identity.ids import Kind, Position, kind_of, local_name, qualified
from collector.identity.links import Link, Role, Source, amended, link_of_row, opened
from collector.identity.names import Alias, Identification, aliases_of, identifications_of, same_as
from collector.identity.numbers.schemes import readings_of
from collector.identity.rows import UNREADABLE, JournalRow, ManualAct, RowKind, ScanAct
from collector.identity.stated.certificates import Certificate, certificates_of
from collector.identity.stated.expectations import Expectation, expectations_of
from collector.identity.stated.manual import ManualReading, manual_of
from collector.identity.stays import CLOSING, OPENING, TakeOut, derive
from collector.identity.times import utc_text
from gateway.rules.limits import Crossing, LimitRule

_THING_KINDS: Final[Mapping[str, Kind]] = {
    RowKind.EQUIPMENT: Kind.EQUIPMENT,
    RowKind.LOCATION: Kind.LOCATION,
    RowKind.INSTRUMENT: Kind.INSTRUMENT,
    RowKind.CONTAINER: Kind.CONTAINER,
    RowKind.BATCH: Kind.BATCH,
    RowKind.PRODUCT_PROFILE: Kind.PRODUCT_PROFILE,
}
_ABOUT_EXCEPTIONS: Final = (
    RowKind.EXCEPTION_ASSIGNMENT,
    RowKind.EXCEPTION_RESOLUTION,
    RowKind.EXCEPTION_REOPENING,
)
_AMENDING: Final = (RowKind.LINK_CORRECTION, RowKind.LINK_CONFIRMATION, RowKind.LINK_REJECTION)


@dataclass(frozen=True, slots=True)
class Thing:
    """One registered identity: its latest content, and who registered it when."""

    id: str
    kind: Kind
    body: Mapping[str, Any]
    known_ns: int
    actor: str
    journal: int
    reason: str = ""

    @property
    def name(self) -> str:
        """What people call it: its name, a batch's number, else the id without its kind."""
        return str(self.body.get("name") or self.body.get("number") or local_name(self.id))

    def document(self) -> dict[str, object]:
        """As in interfaces.md, "Shapes"."""
        return {"id": self.id, **self.body}


@dataclass(frozen=True, slots=True)
class RuleVersion:
    """One version of a limit rule; content never changes under one version."""

    id: str
    version: int
    body: Mapping[str, Any]
    known_ns: int
    actor: str
    journal: int

    @property
    def ref(self) -> str:
        """`rule:frz-high@2`."""
        return f"{self.id}@{self.version}"

    @property
    def point(self) -> str:
        """The point it binds."""
        return str(self.body["point"])

    def limit(self, *, point: str | None = None) -> LimitRule:
        """The kernel's form; `point` where another spelling of it is wanted (a gateway's)."""
        body = self.body
        return LimitRule(
            id=self.id,
            version=self.version,
            point=point or self.point,
            high=body.get("high"),
            low=body.get("low"),
            delay_s=float(body.get("delay_s", 0.0)),
            hysteresis=float(body.get("hysteresis", 0.0)),
            crossing=Crossing(body.get("crossing", Crossing.CONSERVATIVE.value)),
            clear_delay_s=float(body.get("clear_delay_s", 0.0)),
        )

    def document(self) -> dict[str, object]:
        """As in interfaces.md, "Shapes"."""
        return {"id": self.id, "version": self.version, **self.body}


@dataclass(frozen=True, slots=True)
class Problem:
    """An act whose identities cannot be told: what was scanned, and what it might have meant."""

    act: ScanAct
    scanned: str
    kind: Kind
    candidates: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known at `position`. All mappings are keyed by id."""

    position: Position
    things: Mapping[str, Thing]
    rules: Mapping[str, tuple[RuleVersion, ...]]
    links: Mapping[str, Link]
    names: Names
    acts: tuple[ScanAct, ...] = ()
    problems: tuple[Problem, ...] = ()
    unmatched: tuple[TakeOut, ...] = ()
    history: Mapping[str, tuple[Thing, ...]] = field(default_factory=dict)
    """Every content that a thing ever had, the present one last."""
    aliases: Mapping[str, tuple[Alias, ...]] = field(default_factory=dict)
    identifications: Mapping[str, tuple[Identification, ...]] = field(default_factory=dict)
    """Of provisional containers, by id, in the order in which they were proposed."""

    decisions: tuple[JournalRow, ...] = ()
    """Rows about exceptions, in known order (`exceptions.handling` folds them)."""
    handings: tuple[JournalRow, ...] = ()
    """EPCIS events as kept, in known order (`collector.custody` reads them)."""
    certificates: Mapping[str, Certificate] = field(default_factory=dict)
    """Certificates of calibration, those that count no more too."""
    expectations: Mapping[str, Expectation] = field(default_factory=dict)
    """Of a scheduler, cancelled ones too."""
    manual: Mapping[str, ManualReading] = field(default_factory=dict)
    """What people read by hand, by id."""

    @property
    def same_as(self) -> Mapping[str, str]:
        """Provisional containers that were identified, with what they are."""
        return same_as(self.identifications)

    def of_kind(self, kind: Kind) -> list[Thing]:
        """Things of one kind by id."""
        return [thing for _, thing in sorted(self.things.items()) if thing.kind is kind]

    @property
    def batches(self) -> list[Thing]:
        """All batches by id."""
        return self.of_kind(Kind.BATCH)

    @property
    def equipment(self) -> list[Thing]:
        """All equipment by id."""
        return self.of_kind(Kind.EQUIPMENT)

    def profile_of(self, batch: Thing) -> Thing | None:
        """The product profile that a batch names, `name@version` or the latest; None when there is none."""
        name, _, version = str(batch.body.get("product_profile") or "").partition("@")
        versions = self.history.get(f"{Kind.PRODUCT_PROFILE}:{local_name(name)}", ()) if name else ()
        found = [one for one in versions if version in ("", str(one.body.get("version") or 1))]
        return found[-1] if found else None

    def latest_rules(self) -> list[RuleVersion]:
        """The highest version of every rule, by id."""
        return [versions[-1] for _, versions in sorted(self.rules.items())]

    def rules_of(self, point: str) -> list[RuleVersion]:
        """The latest versions that bind a point."""
        return [rule for rule in self.latest_rules() if rule.point == point]

    def candidates(self, kind: Kind, text: str) -> tuple[str, ...]:
        """Ids of this kind that answer to an id, a name, or a batch's bare number."""
        return _candidates(self.things, self.names, kind, text)

    def about(self, act: ScanAct) -> tuple[str, ...]:
        """Ids of what an act may be about: exactly one when its identity is clear."""
        return _about(self.things, self.names, act)

    def find(self, kind: Kind, text: str) -> Thing:
        """The one thing of this kind that answers to the text, else UnknownIdentityError or
        AmbiguousIdentityError with the candidates.
        """
        found = self.candidates(kind, text)
        if not found:
            raise UnknownIdentityError(
                what=f"unknown {kind} {text!r}",
                why="nothing of that id or name is registered",
                next_step="Check the spelling, or register it first.",
            )
        if len(found) > 1:
            raise AmbiguousIdentityError(
                what=f"{kind} {text!r} is ambiguous",
                why=f"{len(found)} answer to it: {', '.join(found)}",
                next_step="Use the full id.",
                candidates=found,
            )
        return self.things[found[0]]

    def find_any(self, text: str) -> Thing:
        """As `find` over all kinds; an id that carries its kind is looked up in that kind."""
        kind = kind_of(text)
        if kind is not None:
            return self.find(kind, text)
        found = {thing for each in set(_THING_KINDS.values()) for thing in self.candidates(each, text)}
        if len(found) == 1:
            return self.things[found.pop()]
        if not found:
            return self.find(Kind.BATCH, text)
        raise AmbiguousIdentityError(
            what=f"{text!r} is ambiguous",
            why=f"{len(found)} things answer to it: {', '.join(sorted(found))}",
            next_step="Use the full id.",
            candidates=sorted(found),
        )

    def links_where(
        self, *, subject: str | None = None, object: str | None = None, role: str | None = None
    ) -> list[Link]:
        """Links by start, rejected ones too; subject and object by id, name or bare number."""
        subjects = None if subject is None else self._answering(subject)
        objects = None if object is None else self._answering(object)
        found = [
            link
            for link in self.links.values()
            if (subjects is None or link.subject in subjects)
            and (objects is None or link.object in objects)
            and (role is None or link.role == role)
        ]
        return sorted(found, key=lambda link: (link.from_ns, link.id))

    def _answering(self, text: str) -> set[str]:
        kinds = set(_THING_KINDS.values())
        named = {thing for kind in kinds for thing in self.candidates(kind, text)}
        return {text, text.removeprefix("point:"), *named}

    def link(self, text: str) -> Link:
        """A link by its id, with or without `link:`; else UnknownIdentityError."""
        found = self.links.get(text) or self.links.get(f"link:{text}")
        if found is None:
            raise UnknownIdentityError(
                what=f"unknown link {text!r}",
                why="no link of that id was known at this position",
                next_step="List them with GET /links.",
            )
        return found


Names = Mapping[tuple[Kind, str], tuple[str, ...]]
"""Ids by kind and name, number or alias."""


def _names(things: Mapping[str, Thing], aliases: Mapping[str, Sequence[Alias]]) -> Names:
    found: dict[tuple[Kind, str], set[str]] = {}
    for thing in things.values():
        identifier = thing.body.get("identifier") or {}
        carried = (identifier["value"],) if identifier else ()
        for name in (thing.name, *thing.body.get("aliases", ()), *carried):
            found.setdefault((thing.kind, name), set()).add(thing.id)
    for batch, given in aliases.items():
        for alias in given:
            for name in (alias.number, f"{alias.issuer}/{alias.number}"):
                found.setdefault((Kind.BATCH, name), set()).add(batch)
    return {key: tuple(sorted(ids)) for key, ids in found.items()}


def _candidates(things: Mapping[str, Thing], names: Names, kind: Kind, text: str) -> tuple[str, ...]:
    for form in readings_of(text):
        try:
            exact = qualified(kind, form)
        except ValueError:
            exact = ""
        found = (exact,) if exact in things else names.get((kind, local_name(form)), ())
        if found:
            return found
    return ()


def up_to(
    rows: Iterable[JournalRow], acts: Iterable[ScanAct | ManualAct], position: Position
) -> tuple[list[JournalRow], list[ScanAct | ManualAct]]:
    """Only what was known at the position."""
    return (
        [row for row in rows if row.id <= position.journal],
        [act for act in acts if act.ledger <= position.ledger],
    )


def fold(rows: Iterable[JournalRow], acts: Iterable[ScanAct | ManualAct], position: Position) -> Facts:
    """Facts at `position` from all rows and acts (later ones are left out).

    The order in which rows of different subjects, or acts, arrived does not matter to what is in
    force; an act that came twice counts once.
    """
    known_rows, told = up_to(rows, acts, position)
    known_acts = [one for one in told if isinstance(one, ScanAct)]
    known_rows.sort(key=lambda row: row.id)
    things: dict[str, Thing] = {}
    rules: dict[str, dict[int, RuleVersion]] = {}
    links: dict[str, Link] = {}
    amendments: list[JournalRow] = []
    history: dict[str, list[Thing]] = {}
    for row in known_rows:
        if row.kind in _THING_KINDS:
            thing = _thing(row)
            things[row.subject] = thing
            history.setdefault(row.subject, []).append(thing)
        elif row.kind == RowKind.RULE:
            rule = rule_of_row(row)
            rules.setdefault(row.subject, {})[rule.version] = rule
        elif row.kind == RowKind.LINK:
            links[row.subject] = link_of_row(row)
        elif row.kind in _AMENDING:
            amendments.append(row)
    for container in _unreadable(things, known_acts):
        things[container.id] = container
        history[container.id] = [container]
    aliases = aliases_of(known_rows)
    names = _names(things, aliases)
    door = _acts_at_the_door(known_rows, known_acts, things, names)
    links.update(door.links)
    for row in amendments:
        if row.subject in links:
            links[row.subject] = amended(links[row.subject], row)
    stays = derive(links.values(), door.take_outs)
    return Facts(
        position=position,
        things=things,
        rules={rule: tuple(by[v] for v in sorted(by)) for rule, by in rules.items()},
        links={link.id: link for link in stays.links},
        names=names,
        acts=door.acts,
        problems=door.problems,
        unmatched=stays.unmatched,
        history={thing: tuple(versions) for thing, versions in history.items()},
        aliases=aliases,
        identifications=identifications_of(known_rows),
        decisions=tuple(row for row in known_rows if row.kind in _ABOUT_EXCEPTIONS),
        handings=tuple(row for row in known_rows if row.kind == RowKind.CUSTODY),
        certificates=certificates_of(known_rows),
        expectations=expectations_of(known_rows),
        manual=manual_of(known_rows, [one for one in told if isinstance(one, ManualAct)]),
    )


def rule_of_row(row: JournalRow) -> RuleVersion:
    """The version that a row of kind `rule` registers."""
    body = {key: value for key, value in row.body.items() if key not in ("id", "version")}
    return RuleVersion(row.subject, int(row.body["version"]), body, row.known_at_ns, row.actor, row.id)


def _thing(row: JournalRow) -> Thing:
    kind = _THING_KINDS[row.kind]
    return Thing(row.subject, kind, row.body, row.known_at_ns, row.actor, row.id, row.reason)


def _unreadable(things: Mapping[str, Thing], acts: Iterable[ScanAct]) -> list[Thing]:
    """A provisional container for every name that a door gave where no label could be read.

    One that a person registered under that name is that container.
    """
    known = {thing.name for thing in things.values() if thing.kind is Kind.CONTAINER}
    found: dict[str, Thing] = {}
    for act in sorted(acts, key=lambda one: (one.known_ns, one.ledger, one.index)):
        if act.label != UNREADABLE or act.batch in known or act.batch in found:
            continue
        body = {
            "name": act.batch,
            "provisional": True,
            "candidates": (),
            "seen": act.note or f"{act.act} {act.equipment} at {utc_text(act.valid_ns)}: label unreadable",
        }
        named = f"{Kind.CONTAINER}:provisional-{act.batch}"
        found[act.batch] = Thing(named, Kind.CONTAINER, body, act.known_ns, act.actor, 0)
    return list(found.values())


@dataclass(frozen=True, slots=True)
class _Door:
    acts: tuple[ScanAct, ...]
    links: Mapping[str, Link]
    take_outs: Sequence[TakeOut]
    problems: tuple[Problem, ...]


def _acts_at_the_door(
    rows: Sequence[JournalRow], scans: Iterable[ScanAct], things: Mapping[str, Thing], names: Names
) -> _Door:
    first: dict[str, ScanAct] = {}
    posted = [posted_act(row) for row in rows if row.kind == RowKind.EVENT and "act" in row.body]
    for act in sorted((*scans, *posted), key=lambda one: (one.known_ns, one.ledger, one.index, one.journal)):
        first.setdefault(act.event_id, act)
    acts = tuple(sorted(first.values(), key=lambda one: (one.valid_ns, one.event_id)))
    links: dict[str, Link] = {}
    take_outs: list[TakeOut] = []
    problems: list[Problem] = []
    for act in acts:
        about = _about(things, names, act)
        places = _candidates(things, names, Kind.EQUIPMENT, act.equipment) if act.equipment else ()
        needs_place = act.act in OPENING or bool(act.equipment)
        if len(about) != 1:
            problems.append(Problem(act, act.batch, Kind.BATCH, about))
        if needs_place and len(places) != 1:
            problems.append(Problem(act, act.equipment, Kind.EQUIPMENT, places))
        if len(about) != 1 or (needs_place and len(places) != 1):
            continue
        if act.act in OPENING:
            link = _scan_link(act, about[0], places[0])
            links[link.id] = link
        elif act.act in CLOSING:
            take_outs.append(TakeOut(act, about[0], places[0] if places else ""))
    return _Door(acts, links, take_outs, tuple(problems))


def _about(things: Mapping[str, Thing], names: Names, act: ScanAct) -> tuple[str, ...]:
    """Whom an act is about: batches by what was scanned, or the container that a door gave a name."""
    batches = () if act.label == UNREADABLE else _candidates(things, names, Kind.BATCH, act.batch)
    if batches:
        return batches
    found = _candidates(things, names, Kind.CONTAINER, act.batch)
    return tuple(one for one in found if things[one].body.get("provisional"))


def _scan_link(act: ScanAct, subject: str, equipment: str) -> Link:
    of_batch = kind_of(subject) is Kind.BATCH
    return opened(
        link_id=scan_link_id(act.event_id),
        role=Role.BATCH_EQUIPMENT if of_batch else Role.CONTAINER_EQUIPMENT,
        subject=subject,
        object_=equipment,
        from_ns=act.valid_ns,
        to_ns=None,
        source=Source(act.source),
        actor=act.actor,
        reason=act.note,
        known_ns=act.known_ns,
        stated_ns=act.known_ns if act.journal else act.time_ns,
        event=act.event_id,
    )


def scan_link_id(event_id: str) -> str:
    """The id of the link that an opening act makes."""
    return f"link:scan-{event_id}"


def posted_act(row: JournalRow) -> ScanAct:
    """The act that a journal row of kind `event` states."""
    body = row.body
    return ScanAct(
        event_id=f"j{row.id}",
        act=str(body["act"]),
        batch=str(body["batch"]),
        equipment=str(body.get("equipment", "")),
        time_ns=int(body["time_ns"]),
        effective_ns=body.get("effective_ns"),
        known_ns=row.known_at_ns,
        journal=row.id,
        actor=row.actor,
        note=row.reason,
        source=str(body.get("source", Source.SCAN.value)),
    )


def find_or_refuse(facts: Facts, kind: Kind, text: str) -> str:
    """The id of a thing named in a request; points are not registered and only checked for form."""
    if kind is not Kind.POINT:
        return facts.find(kind, text).id
    try:
        return qualified(kind, text)
    except ValueError as error:
        raise UnacceptableError.of(error) from error
