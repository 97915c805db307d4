"""The desk where files are brought: preview, import, the inbox of what belongs to nothing yet.

Owns an import's row in the journal, its idempotence by the file's hash, saved mappings and candidates.
The file and its readings go to the ledger in one commit, then the row to the journal: cut short in
between, the same file again completes it. Blocking.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from collector.identity.errors import ContradictionError, UnacceptableError, UnknownIdentityError
from collector.identity.facts import Facts
from collector.identity.resolve import Resolver
from collector.identity.rows import RowKind
from collector.identity.times import NS_PER_S, utc_text
from collector.imports import mapping as columns
from collector.imports.clock import Clock, ClockError, Stamp
from collector.imports.mapping import PARSER, Series
from collector.imports.segments import file_draft, point_name, stream_drafts
from collector.imports.tables import NoTableError, Table, read_table
from collector.imports.versions import KINDS, Import, epoch_of, imports_of
from collector.registry.commands import Registry
from collector.store.ledger import Ledger
from collector.store.ledger.entries import Draft
from gateway.contract.topics import check_id

PPM: Final = 130e-6
"""How fast a cheap logger's clock may drift at the ends of its range (domain rules, 2.10)."""
CANDIDATES_MAX: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """A file and what is said about it. `offset_s`: how far the logger's clock was ahead of true time."""

    content: bytes
    name: str
    logger: str = ""
    map_name: str = ""
    mapping: columns.Mapping | None = None
    zone: str = ""
    format: str = ""
    offset_s: float = 0.0
    bound_s: float | None = None
    stamps: tuple[Stamp, ...] = ()
    """Looks at the logger's clock and a true one at once: two and more tell its drift."""
    subject: str = ""

    @property
    def clock(self) -> Clock:
        """What is known of the logger's clock. Raises ClockError."""
        if self.stamps and self.offset_s:
            raise ClockError("give either how far the clock was ahead, or stamps of both clocks")
        return Clock.through(self.stamps) if self.stamps else Clock.ahead(self.offset_s)

    @property
    def sha256(self) -> str:
        """Names the file for ever."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Understood:
    """What the file holds. Without `series` it is evidence; `asks`: what must be given before import."""

    table: Table | None
    mapping: columns.Mapping | None
    series: tuple[Series, ...]
    logger: str
    asks: str = ""
    problem: str = ""
    notes: tuple[str, ...] = ()


class ImportDesk:
    """One at a time: the journal's writer is held."""

    def __init__(self, *, ledger: Ledger, registry: Registry, now_ns: Callable[[], int]) -> None:
        self._ledger = ledger
        self._registry = registry
        self._now_ns = now_ns

    # --- asking -----------------------------------------------------------------------------------

    def every(self, *, upto: int | None = None) -> list[Import]:
        """Imports in the order in which they became known, as they were at a row of the journal."""
        return list(imports_of(self._registry.journal.rows(upto=upto, kinds=KINDS)).values())

    def find(self, import_id: str, *, upto: int | None = None) -> Import:
        """One import by its id, with or without `import:`; else UnknownIdentityError."""
        wanted = {import_id, f"import:{import_id}"}
        for one in self.every(upto=upto):
            if one.id in wanted or one.sha256 == import_id:
                return one
        raise UnknownIdentityError(
            what=f"unknown import {import_id!r}",
            why="no file of that id was brought",
            next_step="List them with GET /imports.",
        )

    def file(self, import_id: str) -> tuple[str, bytes]:
        """Name and bytes of a file, as received."""
        one = self.find(import_id)
        entry = self._ledger.file(one.sha256)
        assert entry is not None, "the file is committed before its row"
        return str(one.body["name"]), entry.payload

    def maps(self) -> dict[str, columns.Mapping]:
        """Saved mappings by name, the last one saved of each."""
        rows = self._registry.journal.rows(kinds=(RowKind.IMPORT_MAP,))
        return {row.subject: columns.Mapping.model_validate(dict(row.body)) for row in rows}

    def save_map(self, actor: str, name: str, mapping: columns.Mapping) -> None:
        """Keep a mapping under a name; the same content again adds nothing."""
        with self._registry.journal.exclusive():
            if self.maps().get(name) != mapping:
                body = mapping.model_dump(mode="json")
                self._registry.journal.append(kind=RowKind.IMPORT_MAP, subject=name, body=body, actor=actor)

    def preview(self, brought: Brought, *, facts: Facts) -> dict[str, Any]:
        """What an import would do; nothing is stored."""
        known = self._known(brought.sha256)
        understood = self.understand(brought)
        return {
            **self.document(brought, understood),
            "already": None if known is None else known.id,
            "differs": {} if known is None else self._differing(known, brought, understood),
            "asks": understood.asks or None,
            "clock": self._clock(brought, understood.series),
            "sample": [] if understood.table is None else [list(row) for row in understood.table.rows[:5]],
            "header": [] if understood.table is None else list(understood.table.header),
            "preamble": [] if understood.table is None else list(understood.table.preamble[:20]),
            "candidates": candidates(brought, understood, facts),
        }

    def understand(self, brought: Brought) -> Understood:
        """The file's table under the mapping given, saved or guessed."""
        try:
            table = read_table(brought.content)
        except NoTableError as error:
            return Understood(table=None, mapping=None, series=(), logger=brought.logger, problem=str(error))
        logger = brought.logger or columns.logger_of(table) or ""
        mapping: columns.Mapping | None = None
        try:
            mapping = self._mapping(brought, table)
            full, series = columns.read(table, mapping, clock=brought.clock)
            check_id(logger or "-")
        except ValueError as error:
            return Understood(table=table, mapping=mapping, series=(), logger=logger, asks=str(error))
        asks = "" if logger else "the file does not name its logger: give its serial number"
        notes = tuple(columns.notes_on(table, full, series))
        return Understood(
            table=table, mapping=full, series=tuple(series), logger=logger, asks=asks, notes=notes
        )

    def _mapping(self, brought: Brought, table: Table) -> columns.Mapping:
        mapping = brought.mapping
        if mapping is None and brought.map_name:
            mapping = self.maps().get(brought.map_name)
            if mapping is None:
                raise UnknownIdentityError(
                    what=f"unknown mapping {brought.map_name!r}",
                    why=f"saved are {', '.join(sorted(self.maps())) or 'none'}",
                    next_step="Preview the file without a mapping, then save the one it shows.",
                )
        if mapping is None:
            mapping = columns.guess(table)
        given = {"zone": brought.zone, "format": brought.format}
        return mapping.model_copy(update={key: value for key, value in given.items() if value})

    # --- taking -----------------------------------------------------------------------------------

    def take(self, actor: str, brought: Brought) -> tuple[Import, bool]:
        """Import a file, and whether it is new. Raises RefusedError when something must be given."""
        with self._registry.journal.exclusive():
            understood = self.understand(brought)
            known = self._known(brought.sha256)
            if known is not None:
                self._same(known, brought, understood)
                return known, False
            whole(brought, understood)
            received_ns = self._now_ns()
            drafts = [
                file_draft(
                    brought.content, logger=understood.logger, sha256=brought.sha256, received_ns=received_ns
                )
            ]
            drafts += self.stream(brought, understood, version=1, received_ns=received_ns)
            self._ledger.commit(drafts)
            if brought.map_name and understood.mapping is not None:
                saved = understood.mapping.model_copy(update={"format": understood.mapping.format})
                self.save_map(actor, brought.map_name, saved)
            row = self._registry.journal.append(
                kind=RowKind.IMPORT,
                subject=f"import:{brought.sha256[:16]}",
                body=self.document(brought, understood),
                actor=actor,
            )
            return self.find(row.subject), True

    def rows(self, brought: Brought) -> list[dict[str, Any]]:
        """Every row with both stamps: as the logger wrote it, and the time that counts."""
        understood = self.understand(brought)
        if understood.table is None or understood.mapping is None or understood.asks:
            return []
        return [
            {"line": line, "stamp": stamp, "logger_time": utc_text(logger), "time": utc_text(true)}
            for line, stamp, logger, true in columns.stamped(
                understood.table, understood.mapping, clock=brought.clock
            )
        ]

    def stream(
        self, brought: Brought, understood: Understood, *, version: int, received_ns: int
    ) -> list[Draft]:
        """The readings of one version as entries of the ledger; none for evidence."""
        if not understood.series:
            return []
        return stream_drafts(
            understood.series,
            logger=understood.logger,
            epoch=epoch_of(brought.sha256, version),
            bound_s=brought.bound_s,
            received_ns=received_ns,
        )

    def _known(self, sha256: str) -> Import | None:
        return next((one for one in self.every() if one.sha256 == sha256), None)

    def _same(self, known: Import, brought: Brought, understood: Understood) -> None:
        """The same file again is the same import; read in another way it contradicts itself."""
        if known.withdrawn:
            raise ContradictionError(
                what=f"this file is {known.id}, which was withdrawn",
                why=f"by {known.versions[-1].actor}: {known.versions[-1].reason}",
                next_step="A correction of it (POST /imports/{id}/correction) brings it back.",
            )
        kept = self._differing(known, brought, understood)
        stated = understood.asks == "" and brought.subject in {"", known.body["subject"]}
        if kept and stated:
            raise ContradictionError(
                what=f"this file is {known.id} already, read in another way",
                why=f"it differs in {', '.join(sorted(kept))}",
                next_step="State what was wrong: POST /imports/{id}/correction.",
            )

    def _differing(self, known: Import, brought: Brought, understood: Understood) -> dict[str, Any]:
        """In what this reading of a known file differs from the one in force: {what: [is, would be]}."""
        asked = self.document(replace(brought, name=known.body["name"]), understood)
        return {
            key: [known.body.get(key), asked.get(key)]
            for key in READ
            if known.body.get(key) != asked.get(key)
        }

    # --- forms ------------------------------------------------------------------------------------

    def document(self, brought: Brought, understood: Understood) -> dict[str, Any]:
        """What an import's row says."""
        span = columns.first_and_last(understood.series)
        readings = [value for one in understood.series for value in one.values]
        return {
            "sha256": brought.sha256,
            "name": brought.name,
            "bytes": len(brought.content),
            "parser": PARSER,
            "kind": "evidence" if understood.table is None else "readings",
            "problem": understood.problem or None,
            "notes": list(understood.notes),
            "logger": understood.logger or None,
            "map": brought.map_name or None,
            "zone": None if understood.mapping is None else understood.mapping.zone or None,
            "format": None if understood.mapping is None else understood.mapping.format or None,
            "offset_s": brought.offset_s,
            "bound_s": brought.bound_s,
            "mapping": None if understood.mapping is None else understood.mapping.model_dump(mode="json"),
            "clock": brought.clock.document() if understood.series else None,
            "rows": 0 if understood.table is None else len(understood.table.rows),
            "readings": len(readings),
            "bad": sum(value is None for value in readings),
            "first": None if span is None else utc_text(span[0]),
            "last": None if span is None else utc_text(span[1]),
            "points": [_point(understood.logger, one) for one in understood.series],
            "subject": brought.subject,
        }

    def _clock(self, brought: Brought, series: Iterable[Series]) -> dict[str, Any] | None:
        """What can be said about the logger's clock without knowing when it was read out."""
        span = columns.first_and_last(tuple(series))
        if span is None:
            return None
        ahead_s = (span[1] - self._now_ns()) / NS_PER_S
        return {
            "offset_s": brought.offset_s,
            "bound_s": brought.bound_s,
            **(brought.clock.document() or {}),
            "ahead_s_at_least": round(ahead_s, 3) if ahead_s > 0 else None,
            "drift_s_possible": round((span[1] - span[0]) / NS_PER_S * PPM, 3),
        }


READ: Final = ("logger", "zone", "format", "offset_s", "bound_s", "clock", "points", "readings")
"""What tells whether a file is read in the same way."""


def _point(logger: str, one: Series) -> dict[str, Any]:
    values = [value for value in one.values if value is not None]
    return {
        "point": point_name(logger or "?", one.column.name),
        "unit": one.column.unit,
        "period_ms": one.period_ms,
        "readings": len(one.values),
        "min": min(values, default=None),
        "max": max(values, default=None),
    }


def candidates(brought: Brought, understood: Understood, facts: Facts) -> list[str]:
    """Things that the file's name, preamble or logger speak of: listed, never chosen."""
    lines = () if understood.table is None else understood.table.preamble
    words = " ".join((brought.name, *lines)).casefold()
    found = []
    for thing in facts.things.values():
        serial = str(thing.body.get("serial") or "")
        named = len(thing.name) >= 3 and thing.name.casefold() in words
        if named or (understood.logger and understood.logger in {serial, thing.name}):
            found.append(thing.id)
    return sorted(found)[:CANDIDATES_MAX]


def whole(brought: Brought, understood: Understood) -> None:
    """Raises UnacceptableError while something must be given."""
    if understood.asks:
        raise UnacceptableError(
            what=f"{brought.name or 'the file'} cannot be imported yet",
            why=understood.asks,
            next_step="Preview it, and give what is missing.",
        )


def import_document(one: Import, facts: Facts) -> dict[str, Any]:
    """An import in JSON, with what of it belongs to nothing yet."""
    resolver = Resolver(facts)
    linked = resolver.linked_points | resolver.placed_points
    body: Mapping[str, Any] = one.body
    unlinked = [point["point"] for point in body["points"] if point["point"] not in linked]
    waits = bool(unlinked) or (body["kind"] == "evidence" and not body["subject"])
    return {
        "id": one.id,
        **body,
        "state": "withdrawn" if one.withdrawn else "in_force",
        "version": one.versions[-1].number,
        "versions": [version.shown() for version in one.versions],
        "proposed": None if one.proposal is None else one.proposal.shown(),
        "rejected": [dict(told) for told in one.rejected],
        "unlinked": [] if one.withdrawn else unlinked,
        "inbox": one.proposal is not None or (waits and not one.withdrawn),
        "known": utc_text(one.row.known_at_ns),
        "actor": one.row.actor,
    }


def subject_of(facts: Facts, text: str) -> str:
    """The id of what a file is evidence of, or "" when nothing was named. Raises RefusedError."""
    return facts.find_any(text).id if text else ""
