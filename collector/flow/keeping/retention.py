"""Old readings are let go: decided, journalled, and only then deleted, a file at a time.

Owns the order of the steps, so that a kill between any two leaves a state that is gone on with: the new
file without readings, the journal's row (synced), the note in the ledger (one transaction, the new file in
the old one's place), then the old file's end and the chunks'. Must not know what is in a file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from json import dumps
from pathlib import Path
from typing import Any, Final

import structlog

from collector.flow.keeping.child import run_child
from collector.flow.keeping.policy import Situation, choose, stays_of
from collector.identity.facts import Facts
from collector.identity.ids import Position
from collector.identity.rows import RowKind
from collector.identity.times import NS_PER_MS, utc_text
from collector.registry.holds import holds
from collector.registry.journal import Journal
from collector.store.archive.file import Sealed, sync_folder
from collector.store.decoded import SegmentCache
from collector.store.ledger import Ledger
from collector.store.ledger.removals import Carried, Thinned
from collector.store.live import LiveBoard
from collector.store.projection import Projection

NS_PER_DAY: Final = 86_400_000_000_000
ACTOR: Final = "service:collector"
NEWEST_AMONG: Final = 512
"""Entries among which the gateways' newest time is looked for."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """[ledger] keep_days, and the parts that have a say."""

    keep_days: float
    facts: Callable[[], Facts]
    passed: Callable[[], Mapping[str, int]]
    removed: Callable[[], object]
    """Called when there is something for the chunks to follow."""


class Retention:
    """Used by the archiving's task, between files. With keep_days 0 it only finishes what was begun."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        path: Path,
        projection: Projection,
        cache: SegmentCache,
        journal: Journal,
        rule: Rule,
        live: LiveBoard,
        now_ns: Callable[[], int],
    ) -> None:
        self._ledger = ledger
        self._path = path
        self._projection = projection
        self._cache = cache
        self._journal = journal
        self._rule = rule
        self._live = live
        self._now_ns = now_ns
        self._times: dict[str, tuple[int, int] | None] = {}

    def recover(self) -> None:
        """Finish what an earlier life noted in the ledger. Blocking."""
        for removal in self._ledger.removals():
            if not removal.gone:
                self._delete(removal.first)

    async def step(self, stop: asyncio.Event) -> bool:
        """The readings of one file; whether there was one. Raises ChildError, RegistryError, apsw.Error and
        OSError.
        """
        chosen = await asyncio.to_thread(self._due) if self._rule.keep_days else None
        if chosen is None or stop.is_set():
            return False
        folder = self._ledger.archive.folder
        arguments = (str(self._path), str(folder), str(self._path.with_name("projection.db")))
        answer = await run_child("collector.store.archive.thin", arguments, dumps(asdict(chosen)), stop)
        if answer is None:
            return False
        return await asyncio.to_thread(self._remove, chosen, Thinned.parse(answer))

    # --- deciding -----------------------------------------------------------------------------------

    def _due(self) -> Sealed | None:
        """Old by our clock, and by what gateways say and what was committed last: one clock that is ahead
        deletes nothing.
        """
        ledger = self._ledger
        newest_ms = ledger.newest_time_ms(among=NEWEST_AMONG)
        if newest_ms is None:
            return None
        now_ns = min(self._now_ns(), ledger.known_at(ledger.last_id()) or 0, newest_ms * NS_PER_MS)
        before_ns = now_ns - round(self._rule.keep_days * NS_PER_DAY)
        last = ledger.id_at(before_ns)
        done = {one.first for one in ledger.removals()}
        old = [one for one in ledger.archived() if one.last <= last and one.first not in done]
        if not old:
            self._live.retention_held = ()
            return None
        situation = Situation(
            before_ns=before_ns,
            passed={"projection": self._projection.cursor(), **self._rule.passed()},
            holds=holds(self._journal),
            stays=stays_of(self._rule.facts()),
        )
        chosen, self._live.retention_held = choose(((one, self._times_of(one)) for one in old), situation)
        return chosen

    def _times_of(self, file: Sealed) -> tuple[int, int] | None:
        if file.name not in self._times:
            self._times[file.name] = self._ledger.times_between(first=file.first, last=file.last)
        return self._times[file.name]

    # --- doing: blocking ----------------------------------------------------------------------------

    def _remove(self, was: Sealed, thinned: Thinned) -> bool:
        """Whether it is still to be done once nobody can decide otherwise any more."""
        with self._journal.exclusive():
            if self._due() != was:
                (self._ledger.archive.folder / thinned.sealed.name).unlink()
                return False
            row = self._said(was, thinned)
        self._ledger.thin(thinned, journal=row)
        self._delete(was.first)
        log.info(
            "readings are not kept any more",
            file=was.name,
            readings=thinned.readings,
            segments=thinned.segments,
            journal=row,
        )
        self._rule.removed()
        return True

    def _said(self, was: Sealed, thinned: Thinned) -> int:
        """The journal's row, on the disk; the same one when a kill came between it and the ledger's note."""
        subject = f"archive:{self._ledger.id}:{was.first}-{was.last}"
        body = self._body(was, thinned)
        for row in self._journal.rows(kinds=(RowKind.RETENTION,)):
            if row.subject == subject and row.body.get("file") == body["file"]:
                if row.body.get("left") == body["left"]:
                    return row.id
                body["again"] = row.id
        reason = f"[ledger] keep_days = {self._rule.keep_days:g}"
        return self._journal.append(
            kind=RowKind.RETENTION, subject=subject, body=body, actor=ACTOR, reason=reason
        ).id

    def _body(self, was: Sealed, thinned: Thinned) -> dict[str, Any]:
        position = Position(self._projection.cursor(), self._journal.last(), 0)
        return {
            "ledger": self._ledger.id,
            "position": position.token,
            "setting": {"keep_days": self._rule.keep_days},
            "first": was.first,
            "last": was.last,
            "file": {"name": was.name, "bytes": was.bytes, "sha256": was.sha256},
            "left": {
                "name": thinned.sealed.name,
                "bytes": thinned.sealed.bytes,
                "sha256": thinned.sealed.sha256,
                "entries": len(thinned.kept),
            },
            "segments": thinned.segments,
            "readings": thinned.readings,
            "from": None if thinned.from_ms is None else utc_text(thinned.from_ms * NS_PER_MS),
            "to": None if thinned.to_ms is None else utc_text(thinned.to_ms * NS_PER_MS),
        }

    def _delete(self, first: int) -> None:
        """The old file's end. From here on nobody reads it: the ledger names the new one."""
        removal = next(one for one in self._ledger.removals() if one.first == first)
        self._cache.forget(first=removal.first, last=removal.last)
        if removal.carried is None:
            at, repeated = self._projection.repeats()
            self._ledger.carry(first, Carried(at=at, repeated=tuple(repeated)))
        folder = self._ledger.archive.folder
        (folder / removal.was.name).unlink(missing_ok=True)
        sync_folder(folder)
        self._ledger.finish_removal(first)
