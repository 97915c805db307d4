"""Originals that lost their end: noticed at the next start, told, and gone on with under a new ledger id."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from collector.identity.exceptions import ExceptionKind
from collector.registry.anchor import SIZE_BYTES, Anchor, End
from collector.registry.journal import Journal
from collector.store.ledger import Ledger
from collector.store.projection import seen_by
from gateway.contract.reading import NODE_DEVICE
from tests.gateways import SimGateway, metric, numbers
from tests.ledgers import Stores
from tests.unit.test_ledger import segment

FLOOR_NS = 1_000_000


class Home:
    """A ledger's folder, opened again and again; time goes on by a millisecond a look."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ledger.db"
        self.now_ns = FLOOR_NS

    def tick(self) -> int:
        self.now_ns += 1_000_000
        return self.now_ns

    def open(self, seen: End | None = None) -> Ledger:
        return Ledger.open(self.path, now_ns=self.tick, seen=seen)

    def run(self, first: int, last: int, seen: End | None = None) -> str:
        """One life of the ledger, in which these segments come one by one; its id."""
        with closing(self.open(seen)) as ledger:
            for number in range(first, last + 1):
                ledger.commit([segment(number)])
            return ledger.id

    def cut(self, last: int) -> None:
        """The file ends here again, as after a lost log."""
        with closing(apsw.Connection(str(self.path))) as connection:
            connection.execute("DELETE FROM entry WHERE id > ?", (last,))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_a_ledger_whose_end_is_there_keeps_its_id(home: Home) -> None:
    first = home.run(1, 5)
    assert home.run(6, 7) == first
    with closing(home.open()) as ledger:
        assert (ledger.id, ledger.lost_ends()) == (first, [])


def test_a_ledger_that_lost_its_end_is_another_one_and_says_which_positions_are_void(home: Home) -> None:
    first = home.run(1, 10)
    home.cut(7)
    with closing(home.open()) as ledger:
        assert ledger.id != first
        (cut,) = ledger.lost_ends()
        assert (cut.original, cut.ledger, cut.last, cut.seen, cut.at) == ("ledger", first, 7, 10, 7)
        second = ledger.id
    assert home.run(8, 9) == second, "once a loss"


def test_a_file_that_lost_even_its_new_id_is_another_ledger_again(home: Home) -> None:
    first = home.run(1, 10)
    kept = home.path.read_bytes()
    home.cut(7)
    second = home.run(8, 8)
    home.path.write_bytes(kept)
    third = home.run(11, 11)
    assert len({first, second, third}) == 3


def test_ids_that_were_given_again_unnoticed_are_noticed_by_their_known_time(home: Home) -> None:
    first = home.run(1, 10)
    anchor = home.path.with_suffix(".anchor")
    kept = anchor.read_bytes()
    home.cut(7)
    anchor.unlink()
    assert home.run(8, 12) == first, "nobody knew"
    anchor.write_bytes(kept)
    with closing(home.open()) as ledger:
        assert ledger.id != first
        assert ledger.lost_ends()[0].last == 0, "no position is sure"


def test_what_somebody_else_saw_counts_without_an_anchor(home: Home) -> None:
    first = home.run(1, 10)
    home.cut(7)
    home.path.with_suffix(".anchor").unlink()
    assert home.run(8, 8, End(original=first, id=8)) != first


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:40]),
        lambda path: path.write_bytes(b"\xff" * SIZE_BYTES),
        lambda path: path.write_bytes(path.read_bytes().replace(b" 10 ", b" 11 ")),
    ],
)
def test_an_anchor_that_is_not_whole_says_nothing(home: Home, spoil: Callable[[Path], object]) -> None:
    first = home.run(1, 10)
    spoil(home.path.with_suffix(".anchor"))
    assert home.run(11, 11) == first


def test_known_time_does_not_go_back_when_the_end_is_lost(home: Home) -> None:
    home.run(1, 3)
    home.now_ns = 50_000_000
    with closing(home.open()) as ledger:
        closed = ledger.barrier().known_ns
        ledger.commit([segment(4)])
    home.cut(2)
    with closing(apsw.Connection(str(home.path))) as connection:
        connection.execute("DELETE FROM meta WHERE key = 'known_floor'")
    home.now_ns = FLOOR_NS
    with closing(home.open()) as ledger:
        ledger.commit([segment(5)])
        assert (ledger.known_at(3) or 0) > closed


def test_the_projection_tells_how_far_it_saw(tmp_path: Path) -> None:
    assert seen_by(tmp_path / "projection.db") is None
    (tmp_path / "projection.db").write_bytes(b"no database at all" * 100)
    assert seen_by(tmp_path / "projection.db") is None
    stores = Stores(tmp_path / "stores")
    gateway = SimGateway()
    stores.take(gateway.nbirth(), gateway.data(gateway.make(NODE_DEVICE, numbers(1, 0, [1.0]))))
    stores.project()
    stores.close()
    assert seen_by(tmp_path / "stores/projection.db") == End(original=stores.ledger.id, id=2)


def test_a_lost_end_is_an_exception_from_where_it_was_found(tmp_path: Path) -> None:
    stores = Stores(tmp_path)
    gateway = SimGateway()
    stores.take(gateway.nbirth(), gateway.dbirth("BR-01", [metric("temperature", 1)]))
    for at in range(4):
        stores.take(gateway.data(gateway.make("BR-01", numbers(1, at * 1_000, [1.0]))))
    stores.project()
    before = stores.ledger.id
    stores.lose_last(2)
    stores.project()
    told = stores.projection.told
    (incident,) = [one for one in told.incidents(upto=4) if one.kind is ExceptionKind.LEDGER_CUT]
    assert incident.subject == f"ledger:{before}"
    assert incident.evidence[0].startswith("its file had reached L6")
    assert "after L4" in incident.evidence[1]
    assert not [one for one in told.incidents(upto=3) if one.kind is ExceptionKind.LEDGER_CUT]
    stores.close()


def test_decisions_that_are_lost_are_noticed_and_told_once(tmp_path: Path) -> None:
    def opened() -> Journal:
        return Journal.open(url="sqlite:", data_dir=tmp_path, now_ns=lambda: FLOOR_NS)

    with closing(opened()) as journal:
        for subject in ("a", "b", "c"):
            journal.append(kind="saw", subject=subject, body={}, actor="me")
        assert journal.lost_end() is None
    with closing(apsw.Connection(str(tmp_path / "registry.db"))) as connection:
        connection.execute("DELETE FROM journal WHERE id > 1")
    with closing(opened()) as journal:
        lost = journal.lost_end()
        assert lost is not None
        assert (lost.id, journal.last()) == (3, 1)
        journal.remember_end()
    with closing(opened()) as journal:
        assert journal.lost_end() is None


def test_an_anchor_is_overwritten_in_place(tmp_path: Path) -> None:
    anchor = Anchor(tmp_path / "a")
    for number in (1, 2**63 - 1, 3):
        end = End(original="f" * 16, id=number, known_ns=2**63 - 1, floor_ns=2**63 - 1)
        anchor.write(end)
        assert anchor.read() == end
        assert (tmp_path / "a").stat().st_size == SIZE_BYTES
    anchor.close()
    anchor.close()
