"""A position: what is known of both originals at one instant, found again by its time."""

from __future__ import annotations

from pathlib import Path

import pytest

from collector.app import close
from collector.registry.journal import Journal
from collector.store.ledger import Draft, EntryKind, Ledger, Mark


def test_what_is_written_while_a_position_is_closed_lies_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry and a row come between the two closings, and the clock is set back before one of them."""
    now = [1_000]
    ledger = Ledger.open(tmp_path / "ledger.db", now_ns=lambda: now[0])
    journal = Journal.open(url="sqlite:", data_dir=tmp_path, now_ns=lambda: now[0])
    barrier = ledger.barrier

    def write() -> None:
        journal.append(kind="note", subject="s", body={}, actor="a")
        now[0] += 10
        draft = Draft(kind=EntryKind.NDEATH, group="g", node="n", device="-", payload=b"", received_ns=1)
        ledger.commit([draft])
        now[0] += 10
        journal.append(kind="note", subject="s", body={}, actor="a")

    def meanwhile(*, at_least_ns: int = 0) -> Mark:
        mark = barrier(at_least_ns=at_least_ns)
        write()
        return mark

    write()
    now[0] -= 15
    monkeypatch.setattr(ledger, "barrier", meanwhile)
    position = close(ledger, journal)
    known_ns = max(ledger.known_at(position.ledger) or 0, journal.known_ns(position.journal))
    assert position.ledger == 1
    assert position.journal >= 2
    assert (ledger.id_at(known_ns), journal.id_at(known_ns)) == (position.ledger, position.journal)
    journal.close()
    ledger.close()
