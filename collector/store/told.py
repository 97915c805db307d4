"""What gateways told of themselves and what their messages show: absences, and incidents worth a person.

Owns these questions to projection.db and the ledger, at a ledger id. Must not know how an exception is
shown, nor who judges.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Final

from collector.identity.exceptions import ExceptionKind, Incident
from collector.identity.times import NS_PER_MS, NS_PER_S, ns_of, utc_text
from collector.judge.columns import Absent
from collector.judge.findings.clocks import ClockSeen
from collector.store.database import Readers, Row
from collector.store.ledger import Entry
from collector.store.ledger.reading import LedgerReading
from collector.store.schema import GONE
from gateway.contract.events import (
    ClockStep,
    Detection,
    LimitFinding,
    Loss,
    OutboxFilling,
    RolledBack,
    UnknownEvent,
    parse_event,
)
from gateway.contract.reading import PointName
from gateway.contract.receipts import ranges_of
from gateway.contract.segment import Clock

AHEAD_NS_MAX: Final = 5 * 60 * NS_PER_S
"""How far a gateway's clock may be ahead of ours."""
EVERY_POINT: Final = "*"
"""In place of a point: the absence is the whole node's."""
SHOWN_MAX: Final = 1_000
"""Incidents of one kind in an answer, the newest: more of one kind are one fault seen often."""
NOTICED_MAX: Final = 2_000
"""Findings of gateways in an answer, the newest: they are advice, each stays in the ledger."""
LISTED_MAX: Final = 20
"""Ranges named in one line of evidence."""
TURNS_MIN: Final = 2
"""A B A could be a disk that was swapped and swapped back; A B A B are two gateways."""
FILLING_PERCENT: Final = 80
"""Below, a filling outbox is told on /nodes alone."""
HOUR_NS: Final = 3600 * NS_PER_S
"""Clock facts are kept by the hour, each hour's worst."""
UNBOUND: Final = 63
"""The octave of a clock that is not synchronised, or whose bound is unknown."""


def octave_of(clock: Clock) -> int:
    """How bad a clock is, in powers of two of a microsecond, rounded up."""
    if not clock.synchronised or clock.bound_s is None:
        return UNBOUND
    return min(math.ceil(clock.bound_s * 1e6).bit_length(), UNBOUND - 1)


class ToldByNodes:
    """Blocking; any thread may ask."""

    def __init__(self, readers: Readers, ledger: LedgerReading) -> None:
        self._readers = readers
        self._ledger = ledger

    def absences(self, point: PointName, *, from_ns: int, to_ns: int, upto: int) -> list[Absent]:
        """Declared absences of a point that meet [from, to), by start, as known at ledger id `upto`.

        Of the statements under one id the closed one counts, whichever came first.
        """
        rows = self._readers.rows(
            "SELECT name, from_ns, to_ns, reason FROM absence WHERE grp = ? AND node = ? AND point IN (?, ?)"
            " AND from_ns < ? AND id <= ? AND id NOT IN (SELECT id FROM rejected WHERE since <= ?)"
            " ORDER BY to_ns IS NOT NULL, id, idx",
            (point.group, point.node, f"{point.device}/{point.name}", EVERY_POINT, to_ns, upto, upto),
        )
        found = {row[0]: Absent(*row[1:]) for row in rows}
        met = [one for one in found.values() if one.to_ns is None or one.to_ns > from_ns]
        return sorted(met, key=lambda one: (one.from_ns, one.to_ns or to_ns, one.reason))

    def clock(self, node: str, *, from_ns: int, to_ns: int, upto: int) -> ClockSeen | None:
        """The worst clock of `group/node` in the hours that meet [from, to), as known at ledger id `upto`."""
        group, _, name = node.partition("/")
        rows = self._rows(
            "SELECT max(octave) FROM clock c JOIN stream s USING (sid) WHERE s.grp = ? AND s.node = ?"
            " AND c.hour BETWEEN ? AND ? AND c.id <= ?",
            *(group, name, from_ns // HOUR_NS, (to_ns - 1) // HOUR_NS, upto),
        )
        octave = rows[0][0]
        if octave is None:
            return None
        return ClockSeen(None if octave == UNBOUND else (1 << octave) / 1e6)

    def still_absent(self) -> dict[tuple[str, str], list[tuple[str, Absent]]]:
        """(group, node) → what is declared absent now and not back: (device/name, since), oldest first."""
        rows = self._rows(
            "SELECT grp, node, point, min(from_ns), min(reason) FROM absence"
            " WHERE id NOT IN (SELECT id FROM rejected WHERE since <= ?) GROUP BY grp, node, point, name"
            " HAVING count(to_ns) = 0 ORDER BY 4, 3",
            1 << 62,
        )
        out: dict[tuple[str, str], list[tuple[str, Absent]]] = {}
        for group, node, point, from_ns, reason in rows:
            out.setdefault((group, node), []).append((point, Absent(from_ns, None, reason)))
        return out

    def incidents(self, *, upto: int) -> list[Incident]:
        """Everything known at ledger id `upto`."""
        found: list[Incident] = []
        asks = (
            self._events,
            self._twins,
            self._refused,
            self._rebound,
            self._junk,
            self._uncompared,
            self._restored,
            self._cut,
        )
        for ask in asks:
            found.extend(ask(upto))
        return found

    def noticed(self, *, upto: int) -> list[tuple[str, str, int, Detection | LimitFinding]]:
        """(group, node, known ns, finding) of what gateways noticed, the newest; ends replace begins."""
        rows = self._rows(
            "SELECT s.grp, s.node, max(e.known_at), e.text, e.name, max(e.id)"
            " FROM event e JOIN stream s USING (sid)"
            " WHERE e.kind IN ('detection', 'finding') AND e.id <= ? AND s.own"
            " AND e.id NOT IN (SELECT id FROM rejected WHERE since <= ?)"
            " GROUP BY s.grp, s.node, e.name, e.text ORDER BY 6 DESC LIMIT ?",
            upto,
            upto,
            NOTICED_MAX,
        )
        found: dict[tuple[str, str, str], tuple[str, str, int, Detection | LimitFinding]] = {}
        for group, node, known_ns, text, name, _ in rows:
            event = parse_event(text)
            if isinstance(event, Detection | LimitFinding):
                key = group, node, name
                if key not in found or event.state == "closed":
                    found[key] = group, node, known_ns, event
        return list(found.values())

    def wrong(self, *, upto: int, limit: int) -> list[Entry]:
        """Segments whose content is not what their digest says, known at `upto`, newest first."""
        rows = self._rows("SELECT id FROM rejected WHERE since <= ? ORDER BY id DESC LIMIT ?", upto, limit)
        return [
            self._ledger.entries(after=row[0] - 1, limit=1, upto=row[0], payload=False)[0] for row in rows
        ]

    def conflicting(self, *, upto: int) -> list[tuple[PointName, int, int]]:
        """Every point with unequal readings at one time: at how many times, and the first finding's id."""
        rows = self._rows(
            "SELECT grp, node, device, name, count(DISTINCT time_ms), min(id) FROM conflict WHERE id <= ?"  # noqa: S608 (constant text)
            f" AND id NOT IN ({GONE}) AND other NOT IN ({GONE})"
            " GROUP BY grp, node, device, name ORDER BY 1, 2, 3, 4",
            *[upto] * 5,
        )
        return [(PointName(*row[:4]), row[4], row[5]) for row in rows]

    def periods(self, *, upto: int) -> dict[PointName, tuple[tuple[int, int], ...]]:
        """Of points whose period was changed: (since ns, period ns), as known at ledger id `upto`.

        A birth tells a new period when the gateway is connected; in force it is since the gateway began to
        work with that configuration, which its `config_change` event tells. Without one: since the birth.
        """
        rows = self._rows(
            "SELECT grp, node, device, name, id, period_ms FROM declared WHERE id <= ?"
            " ORDER BY grp, node, device, name, id",
            upto,
        )
        found: dict[PointName, list[tuple[int, int]]] = {}
        for *name, entry_id, period_ms in rows:
            one = found.setdefault(PointName(*name), [])
            if not one or one[-1][1] != (period_ms or 0):
                one.append((entry_id, period_ms or 0))
        changed = {name: told for name, told in found.items() if len(told) > 1}
        begun = self._configured(upto) if changed else {}
        return {
            name: tuple(self._in_force(told, begun.get((name.group, name.node), [])))
            for name, told in changed.items()
        }

    def _in_force(self, told: list[tuple[int, int]], begun: list[int]) -> Iterator[tuple[int, int]]:
        since_ns = 0
        for at, (entry_id, period_ms) in enumerate(told):
            if at:
                born_ns = self._known_ns(entry_id)
                before = [one for one in begun if since_ns < one <= born_ns + AHEAD_NS_MAX]
                since_ns = max(before, default=max(born_ns, since_ns + 1))
            yield since_ns, period_ms * NS_PER_MS

    def _configured(self, upto: int) -> dict[tuple[str, str], list[int]]:
        """When each node began to work with another configuration, by its own clock."""
        rows = self._rows(
            "SELECT s.grp, s.node, e.text FROM event e JOIN stream s USING (sid)"
            " WHERE e.kind = 'config_change' AND s.own AND e.id <= ?"
            " AND e.id NOT IN (SELECT id FROM rejected WHERE since <= ?)",
            *(upto, upto),
        )
        out: dict[tuple[str, str], list[int]] = {}
        for group, node, text in rows:
            event = parse_event(text)
            if not isinstance(event, UnknownEvent):
                out.setdefault((group, node), []).append(ns_of(event.time))
        return out

    # --- what was told ----------------------------------------------------------------------------

    def _rows(self, sql: str, *parameters: int | str) -> list[Row]:
        return self._readers.rows(sql, parameters)

    def _events(self, upto: int) -> Iterator[Incident]:
        filling: dict[str, Incident] = {}
        rows = self._rows(
            "SELECT s.grp, s.node, s.epoch, min(e.id), e.known_at, e.text"
            " FROM event e JOIN stream s USING (sid)"
            " WHERE e.kind IN ('loss', 'rolled_back', 'clock_step', 'outbox_filling') AND e.id <= ? AND s.own"
            " AND e.id NOT IN (SELECT id FROM rejected WHERE since <= ?)"
            " GROUP BY e.kind, e.name ORDER BY 4 DESC LIMIT ?",
            upto,
            upto,
            SHOWN_MAX,
        )
        for group, node, _, _, known_ns, text in reversed(rows):
            subject = f"node:{group}/{node}"
            match event := parse_event(text):
                case Loss():
                    yield _loss(event, subject, known_ns)
                case RolledBack():
                    yield _rolled_back(event, subject, known_ns)
                case ClockStep():
                    yield _clock_step(event, subject, known_ns)
                case OutboxFilling():
                    opened = filling.pop(subject, None)
                    if event.percent >= FILLING_PERCENT:
                        since_ns = known_ns if opened is None else opened.known_ns
                        filling[subject] = _filling(event, subject, since_ns)
                case _:
                    pass
        yield from filling.values()

    # --- what messages show -----------------------------------------------------------------------

    def _twins(self, upto: int) -> Iterator[Incident]:
        rows = self._rows(
            "SELECT s.grp, s.node, s.epoch, o.epoch, t.id FROM twin t JOIN stream s USING (sid)"
            " JOIN stream o ON o.sid = t.other WHERE t.id <= ? ORDER BY t.id",
            upto,
        )
        turns: dict[tuple[str, str], list[Row]] = {}
        for row in rows:
            turns.setdefault((row[0], row[1]), []).append(row)
        for (group, node), found in turns.items():
            if len(found) < TURNS_MIN:
                continue
            _, _, epoch, other, entry_id = found[TURNS_MIN - 1]
            yield Incident(
                kind=ExceptionKind.DUPLICATE_NODE,
                subject=f"node:{group}/{node}",
                about=tuple(sorted((epoch, other))),
                evidence=(
                    f"live segments of epochs {epoch} and {other} take turns ({len(found)} times)",
                    f"ledger:{entry_id}",
                ),
                known_ns=self._known_ns(entry_id),
            )

    def _refused(self, upto: int) -> Iterator[Incident]:
        rows = self._rows(
            "SELECT s.grp, s.node, s.epoch, r.number, r.since, r.healed"
            " FROM refusal r JOIN stream s USING (sid)"
            " WHERE r.since <= ? ORDER BY r.since DESC LIMIT ?",
            upto,
            SHOWN_MAX,
        )
        by_epoch: dict[tuple[str, str, str], list[tuple[int, int, bool]]] = {}
        for group, node, epoch, number, since, healed in reversed(rows):
            done = healed is not None and healed <= upto
            by_epoch.setdefault((group, node, epoch), []).append((number, since, done))
        for (group, node, epoch), found in by_epoch.items():
            open_ = [number for number, _, done in found if not done]
            numbers = open_ or [number for number, _, _ in found]
            state = "are awaited whole" if open_ else "have come whole since"
            yield Incident(
                kind=ExceptionKind.REFUSED,
                subject=f"node:{group}/{node}",
                about=(epoch,),
                evidence=(
                    f"the content of segments {epoch}/{_listed(numbers)} was not usable; they {state}",
                ),
                known_ns=self._known_ns(found[0][1]),
                resolved=not open_,
            )

    def _rebound(self, upto: int) -> Iterator[Incident]:
        rows = self._rows(
            "SELECT s.grp, s.node, s.epoch, r.alias, r.bound, r.claimed, min(r.id) FROM rebound r"
            " JOIN stream s USING (sid) WHERE r.id <= ?"
            " GROUP BY r.sid, r.alias, r.claimed ORDER BY 7 LIMIT ?",
            upto,
            SHOWN_MAX,
        )
        for group, node, epoch, alias, bound, claimed, entry_id in rows:
            yield Incident(
                kind=ExceptionKind.REBOUND,
                subject=f"node:{group}/{node}",
                about=(epoch, alias, claimed),
                evidence=(
                    f"alias {alias} of epoch {epoch} is bound to {bound}",
                    f"a later birth claims it for {claimed}",
                    f"ledger:{entry_id}",
                ),
                known_ns=self._known_ns(entry_id),
            )

    def _junk(self, upto: int) -> Iterator[Incident]:
        for one in self._ledger.junk(upto=upto):
            evidence = [f"{one.kept} different messages could not be read and are kept, {one.bytes} bytes"]
            if one.dropped:
                evidence.append(f"{one.dropped} more were over the limit of a day and are not kept")
            yield Incident(
                kind=ExceptionKind.QUARANTINE,
                subject=f"node:{one.group}/{one.node}",
                about=(),
                evidence=tuple(evidence),
                known_ns=self._known_ns(one.first_id) or one.since_ns,
            )

    def _uncompared(self, upto: int) -> Iterator[Incident]:
        rows = self._rows(
            "SELECT grp, node, device, count(*), max(n), min(id) FROM uncompared WHERE id <= ?"
            " GROUP BY grp, node, device ORDER BY 6",
            upto,
        )
        for group, node, device, count, most, entry_id in rows:
            yield Incident(
                kind=ExceptionKind.UNCOMPARED,
                subject=f"node:{group}/{node}",
                about=(device,),
                evidence=(
                    f"{count} segments of {device} overlap more older ones in time than are compared",
                    f"up to {most} were left out of one comparison: whether they repeat it is unknown",
                    f"ledger:{entry_id}",
                ),
                known_ns=self._known_ns(entry_id),
            )

    def _restored(self, upto: int) -> Iterator[Incident]:
        for one in self._ledger.restores():
            if one.ledger > upto:
                continue
            yield Incident(
                kind=ExceptionKind.RESTORED,
                subject=f"ledger:{one.from_ledger}",
                about=(str(one.restored_ns),),
                evidence=(
                    f"put back at {utc_text(one.restored_ns)} from a backup of {one.backup_created}",
                    f"positions after L{one.ledger}.J{one.journal} that were given out before are void",
                ),
                known_ns=one.restored_ns,
            )

    def _cut(self, upto: int) -> Iterator[Incident]:
        for one in self._ledger.lost_ends():
            if one.at > upto:
                continue
            is_ledger = one.original == "ledger"
            what, letter = ("entries", "L") if is_ledger else ("decisions", "J")
            since = f"after {letter}{one.last}" if one.last else "of any time"
            yield Incident(
                kind=ExceptionKind.LEDGER_CUT if is_ledger else ExceptionKind.JOURNAL_CUT,
                subject=f"ledger:{one.ledger}",
                about=(str(one.found_ns),),
                evidence=(
                    f"its file had reached {letter}{one.seen}; {what} of its end are not in it any more",
                    f"positions {since} that were given out before {utc_text(one.found_ns)} are void",
                ),
                known_ns=one.found_ns,
            )

    def _known_ns(self, entry_id: int) -> int:
        return self._ledger.known_at(entry_id) or 0


# --- wording ----------------------------------------------------------------------------------------


def _loss(event: Loss, subject: str, known_ns: int) -> Incident:
    return Incident(
        kind=ExceptionKind.LOSS,
        subject=subject,
        about=(event.id,),
        evidence=(
            f"segments {event.epoch}/{_ranges(event.ranges)} will not come: {event.cause}",
            f"{event.readings} readings were in them",
            f"event:{event.id}",
        ),
        known_ns=known_ns,
    )


def _rolled_back(event: RolledBack, subject: str, known_ns: int) -> Incident:
    moved = sum(last - first + 1 for first, last in event.moved)
    return Incident(
        kind=ExceptionKind.ROLLED_BACK,
        subject=subject,
        about=(event.old_epoch, event.new_epoch),
        evidence=(
            f"epoch {event.old_epoch} had receipts up to {event.upto}",
            f"its outbox only reached {event.last_number}; epoch {event.new_epoch} goes on",
            f"{moved} segments without receipt go again under new numbers; repeats are dropped",
            f"event:{event.id}",
        ),
        known_ns=known_ns,
    )


def _clock_step(event: ClockStep, subject: str, known_ns: int) -> Incident:
    before, after = (utc_text(int(time.timestamp() * NS_PER_S)) for time in (event.before, event.after))
    return Incident(
        kind=ExceptionKind.CLOCK_STEP,
        subject=subject,
        about=(event.id,),
        evidence=(
            f"the gateway's clock was set by {event.step_s:+.3f} s, from {before} to {after}",
            f"event:{event.id}",
        ),
        known_ns=known_ns,
    )


def _filling(event: OutboxFilling, subject: str, known_ns: int) -> Incident:
    left = "" if event.full_in_s is None else f", full in {event.full_in_s / 3600:.1f} h"
    return Incident(
        kind=ExceptionKind.OUTBOX_FILLING,
        subject=subject,
        about=(),
        evidence=(f"{event.bytes} of {event.bytes_max} bytes wait for their receipt{left}",),
        known_ns=known_ns,
    )


def _listed(numbers: Iterable[int]) -> str:
    return _ranges(ranges_of(numbers))


def _ranges(ranges: Iterable[tuple[int, int]]) -> str:
    texts = [str(first) if first == last else f"{first} to {last}" for first, last in ranges]
    more = f" and {len(texts) - LISTED_MAX} more ranges" if len(texts) > LISTED_MAX else ""
    return ", ".join(texts[:LISTED_MAX]) + more
