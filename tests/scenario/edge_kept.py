"""Edge case files about what people sign and which alarms they put aside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

import numpy as np

from collector.alarms.board import Board
from collector.alarms.model import At
from collector.identity.facts import Facts
from collector.identity.ids import Position
from collector.identity.rows import JournalRow, RowKind
from collector.records.signing import Meaning
from collector.registry.journal import Journal
from collector.registry.signing import sign_answer
from tests.unit.identity_site import Columns

Document = dict[str, Any]


def sign(journal: Journal, who: str, meaning: str, document: Document) -> str:
    """A person of QA signs a history."""
    row = sign_answer(
        journal, actor=who, role="qa", meaning=Meaning(meaning), document=document, timezone="Europe/Zurich"
    )
    return f"signature:{row.id}"


def command(journal: Journal, who: str, step: Mapping[str, Any], until_ns: int) -> None:
    """A person commands an alarm."""
    body = {"event": step["event"], "until_ns": until_ns, "work_order": step.get("work_order", "")}
    journal.append(
        kind=RowKind.ALARM, subject=step["alarm"], body=body, actor=who, reason=step.get("reason", "known")
    )


def alarms_at(
    facts: Facts,
    rows: Iterable[JournalRow],
    readings: Mapping[str, Columns],
    known_of: Mapping[str, Mapping[int, int]],
    position: Position,
) -> list[Document]:
    """The alarms as known at a position: every reading and command at its known time."""
    board = Board()
    for rule in facts.latest_rules():
        board.define(rule, At(ledger=0, journal=rule.journal, known_ns=0))
    events: list[tuple[int, int, str, int, float]] = []
    for point, held in readings.items():
        for time_ns, value in zip(held.time_ns.tolist(), held.value.tolist(), strict=True):
            events.append((known_of[point].get(time_ns, time_ns), 0, point, time_ns, value))
    commands = {row.id: row for row in rows if row.kind == RowKind.ALARM and row.id <= position.journal}
    events += [(row.known_at_ns, 1, "", row.id, 0.0) for row in commands.values()]
    events = sorted(event for event in events if event[0] <= position.known_ns)
    for (known_ns, is_row, point), together in groupby(events, key=lambda event: event[:3]):
        some = list(together)
        at = At(ledger=1, journal=1, known_ns=known_ns)
        board.advance(at)
        if is_row:
            for event in some:
                board.command(commands[event[3]], at)
        else:
            times = np.array([event[3] for event in some], np.int64)
            values = np.array([event[4] for event in some])
            board.readings(point, times, values, np.isfinite(values), 600 * 10**9, at)
    board.advance(At(ledger=1, journal=1, known_ns=position.known_ns))
    documents = [one.document(known_ns=position.known_ns) for _, one in sorted(board.alarms.items())]
    return documents + [one.document() for _, one in sorted(board.retros.items())]
