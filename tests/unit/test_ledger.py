"""The ledger: once each, forks kept, known time that never goes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.store.ledger import Draft, EntryKind, Ledger, Outcome


class Wall:
    """A wall clock that a test sets."""

    ns = 1_000

    def __call__(self) -> int:
        return self.ns


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def ledger(tmp_path: Path, wall: Wall) -> Iterator[Ledger]:
    made = Ledger.open(tmp_path / "ledger.db", now_ns=wall)
    yield made
    made.close()


def segment(number: int, digest: str = "aa", *, payload: bytes = b"x", resend: bool = False) -> Draft:
    return Draft(
        kind=EntryKind.SEGMENT,
        group="g",
        node="n",
        device="d",
        payload=payload,
        received_ns=1,
        epoch="00" * 8,
        number=number,
        digest=digest,
        t_min_ms=number * 10,
        t_max_ms=number * 10 + 5,
        n=1,
        resend=resend,
    )


def outcomes(ledger: Ledger, *drafts: Draft) -> list[Outcome]:
    return [one.outcome for one in ledger.commit(drafts)]


def test_the_same_key_again_changes_nothing(ledger: Ledger) -> None:
    assert outcomes(ledger, segment(1), segment(1, payload=b"y")) == [Outcome.NEW, Outcome.DUPLICATE]
    assert outcomes(ledger, segment(1)) == [Outcome.DUPLICATE]
    assert [entry.payload for entry in ledger.entries(after=0, limit=9)] == [b"x"]
    assert ledger.duplicates() == {("g", "n", "00" * 8): 2}


def test_another_digest_under_the_number_is_a_fork_and_both_are_kept(ledger: Ledger) -> None:
    assert outcomes(ledger, segment(1), segment(1, "bb"), segment(1, "bb")) == [
        Outcome.NEW,
        Outcome.FORK,
        Outcome.DUPLICATE,
    ]
    copies = ledger.copies(group="g", node="n", epoch="00" * 8, number=1, below=99)
    assert [copy.digest for copy in copies] == ["aa", "bb"]


def test_a_wanted_copy_of_refused_content_is_kept_beside_it(ledger: Ledger) -> None:
    assert outcomes(ledger, segment(1), segment(1, payload=b"good", resend=True)) == [Outcome.NEW] * 2
    assert [entry.attempt for entry in ledger.entries(after=0, limit=9)] == [0, 1]
    assert outcomes(ledger, *[segment(1, resend=True)] * 20).count(Outcome.NEW) == 6


def test_ids_are_gapless_and_survive_a_restart(tmp_path: Path, ledger: Ledger, wall: Wall) -> None:
    ledger.commit([segment(1), segment(1), segment(2)])
    ledger_id = ledger.id
    ledger.close()
    again = Ledger.open(tmp_path / "ledger.db", now_ns=wall)
    assert again.id == ledger_id
    assert len(ledger_id) == 16
    again.commit([segment(3)])
    assert [entry.id for entry in again.entries(after=0, limit=9)] == [1, 2, 3]
    again.close()


def test_known_time_rises_when_the_wall_clock_falls_and_a_time_maps_to_a_position(
    tmp_path: Path, ledger: Ledger, wall: Wall
) -> None:
    ledger.commit([segment(1), segment(2)])
    wall.ns = 5_000
    ledger.commit([segment(3)])
    mark = ledger.barrier()
    assert (mark.id, mark.known_ns) == (3, 5_000)
    wall.ns = 10
    ledger.commit([segment(4)])
    assert [entry.known_ns for entry in ledger.entries(after=0, limit=9)] == [1_000, 1_000, 5_000, 5_001]
    assert [ledger.id_at(at) for at in (999, 1_000, 4_999, 5_000, 5_001)] == [0, 2, 2, 3, 4]
    wall.ns = 9_000
    assert ledger.barrier().known_ns == 9_000
    ledger.close()
    wall.ns = 20
    again = Ledger.open(tmp_path / "ledger.db", now_ns=wall)
    again.commit([segment(5)])
    assert again.known_at(5) == 9_001
    again.close()


def test_a_batch_that_fails_leaves_nothing(ledger: Ledger) -> None:
    broken = segment(2)
    object.__setattr__(broken, "payload", None)
    with pytest.raises(Exception, match="NOT NULL"):
        ledger.commit([segment(1), segment(1), broken])
    assert (ledger.last_id(), ledger.entries(after=0, limit=9), ledger.duplicates()) == (0, [], {})
    assert outcomes(ledger, segment(1)) == [Outcome.NEW]


def test_segments_are_found_by_time(ledger: Ledger) -> None:
    ledger.commit([segment(number) for number in range(1, 20)])
    found = ledger.segments_of(group="g", node="n", device="d", t_min_ms=32, t_max_ms=50, span_ms=5, upto=99)
    assert [entry.number for entry in found] == [3, 4, 5]
