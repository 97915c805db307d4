"""Old readings are let go: what goes, what stays, what is said of it, and that all else is as it was."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from collector.config import LedgerSection
from collector.flow.archiving import tidy
from collector.flow.keeping.policy import Situation, Stay
from collector.flow.rebuild import rebuild
from collector.flow.rebuild.compare import unequal
from collector.identity.rows import RowKind
from collector.registry.holds import HoldRequest, ReleaseRequest, post_hold, release_hold
from collector.store.archive.file import Sealed
from collector.store.archive.thin import thin
from collector.store.backup import restore
from collector.store.ledger import Ledger
from gateway.contract.codec import decode_data
from gateway.contract.thin import thinned
from tests.gateways import T0_MS, SimGateway, metric, numbers
from tests.retained import OLD_LAST, POINT, SILENT, Site
from tests.unit.test_archiving import backed_up


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    made.fill()
    yield made
    made.close()


def test_a_thinned_segment_keeps_who_when_and_nothing_else() -> None:
    gateway = SimGateway()
    made = gateway.make("BR-01", numbers(1, T0_MS, [1.0, 2.0, 3.0]))
    _, payload = gateway.data(made, historical=True)
    less = thinned(payload)
    assert less is not None
    whole, left = decode_data(payload), decode_data(less)
    assert (left.clock, left.historical, left.seq, left.sent_ms) == (
        *(whole.clock, True),
        *(whole.seq, whole.sent_ms),
    )
    assert left.segment is None, "its digest would not fit: the ledger's row says who it is"
    assert (len(whole.block), len(left.block)) == (3, 0)


def test_readings_go_and_everything_else_stays(site: Site) -> None:
    before, nodes = site.dump(), site.projection.nodes()
    old = site.ledger.archived()[0]
    assert site.let_go() == 2
    left = site.sealed.read(POINT, from_ns=None, to_ns=None)
    assert unequal(left, site.readings.read(POINT, from_ns=None, to_ns=None)) == ""
    kept = sorted({int(one) for one in left.ledger})
    assert all(one > 60 or not site.ledger.is_thinned(one) for one in kept)
    assert len(left.time_ns) == 81, "of two old segments, those that are in no file yet, and the present"
    assert len(site.sealed.read(SILENT, from_ns=None, to_ns=None).time_ns) == 2, "the last value stays"
    assert site.dump() == before
    assert site.projection.nodes() == nodes
    assert not (site.ledger.archive.folder / old.name).exists()
    assert [one.gone for one in site.ledger.removals()] == [True, True]
    assert len(site.ledger.entries(after=0, limit=100)) == 71


def test_the_journal_says_it_before_it_is_done(site: Site) -> None:
    old = site.ledger.archived()[0]
    site.let_go()
    row = site.journal.rows(kinds=(RowKind.RETENTION,))[0]
    removal = site.ledger.removals()[0]
    assert (row.actor, row.reason) == ("service:collector", "[ledger] keep_days = 30")
    assert row.body["file"] == {"name": old.name, "bytes": old.bytes, "sha256": old.sha256}
    assert (row.body["first"], row.body["last"]) == (1, OLD_LAST)
    assert row.body["readings"] == removal.readings > 300
    assert row.body["segments"] == removal.segments
    assert row.body["position"].startswith("L")
    assert removal.journal == row.id


def test_a_rebuild_gives_the_same(site: Site) -> None:
    site.let_go()
    before = site.dump()
    site.close()
    done = rebuild(site.folder, registry_url="sqlite:", now_ns=lambda: T0_MS * 1_000_000)
    assert done.document()["equal"] is True, done.differences
    assert (done.refused, done.skipped) == (0, 0)
    again = Site(site.folder)
    assert again.dump() == before
    again.close()
    site.__init__(site.folder)  # type: ignore[misc] # for the fixture to close


def test_what_is_not_kept_is_said_by_time(site: Site) -> None:
    low, high = T0_MS - 5_000, T0_MS + 10_000_000
    asked = {"low_ms": low, "high_ms": high}
    assert site.ledger.unkept(POINT, **asked, upto=10**6) == []
    site.let_go()
    spans = [(low - T0_MS, high - T0_MS) for low, high in site.ledger.unkept(POINT, **asked, upto=10**6)]
    # the first segment and the one that is contradicted stay whole; half a period belongs to the edges
    assert spans == [(9_500, 39_501), (49_500, 559_501)]
    assert site.ledger.unkept(POINT, low_ms=T0_MS + 86_400_000, high_ms=T0_MS * 2, upto=10**6) == []
    assert site.ledger.unkept(POINT, **asked, upto=0) == [], "nothing was known then"
    assert site.ledger.unkept(SILENT, **asked, upto=10**6) == []


def test_what_is_young_by_any_clock_stays(site: Site) -> None:
    assert site.let_go(keep_days=101) == 0
    site.now_ns += 3_000 * 86_400_000_000_000  # our clock runs away
    site.take(SimGateway(node="gw-2").nbirth())
    site.project()
    site.seal()
    assert site.let_go(keep_days=200) == 0, "gateways say another time"
    assert site.let_go(keep_days=99) == 2


def test_who_follows_holds_it(site: Site) -> None:
    assert site.let_go(passed={"sink a": 70, "sink b": 12}) == 0
    assert [one.why for one in site.live.retention_held] == ["sink b did not read it yet"] * 2
    assert site.let_go(passed={"sink b": OLD_LAST}) == 1
    assert site.let_go(passed={"sink b": 60}) == 1
    assert site.live.retention_held == ()


def test_a_hold_holds_until_it_is_released(site: Site) -> None:
    request = HoldRequest.model_validate({"to": "2100-01-01T00:00:00Z", "reason": "complaint 7"})
    hold = post_hold(site.journal, "quinn", request)
    assert site.let_go() == 0
    assert {one.why for one in site.live.retention_held} == {f"held by {hold.id}"}
    release_hold(site.journal, "quinn", hold.id, ReleaseRequest(reason="closed"))
    assert site.let_go() == 2


def test_a_hold_that_came_while_the_file_was_made_counts(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    retention = site.retention()
    chosen = retention._due()
    assert chosen is not None
    made = thin(site.folder / "ledger.db", site.ledger.archive.folder, site.folder / "projection.db", chosen)
    post_hold(site.journal, "quinn", HoldRequest.model_validate({"reason": "wait"}))
    assert retention._remove(chosen, made) is False
    assert not (site.ledger.archive.folder / made.sealed.name).exists()
    assert site.ledger.removals() == []
    assert site.journal.rows(kinds=(RowKind.RETENTION,)) == []


def test_a_batch_that_was_there_holds_it_until_it_is_closed_long_enough() -> None:
    file = Sealed(name="f", first=1, last=9, bytes=1, sha256="", payload_bytes=1)

    def why(stay: Stay) -> str:
        situation = Situation(before_ns=1_000 * 10**6, passed={"sealing": 9}, holds=[], stays=[stay])
        return situation.why_held(file, (100, 200))

    there = ((90 * 10**6, 150 * 10**6),)
    assert "is open" in why(Stay(batch="batch:b", spans=(*there, (400 * 10**6, None)), closed_ns=None))
    assert "ended" in why(Stay(batch="batch:b", spans=there, closed_ns=1_500 * 10**6))
    assert why(Stay(batch="batch:b", spans=there, closed_ns=150 * 10**6)) == ""
    elsewhere = ((300 * 10**6, None),)
    assert why(Stay(batch="batch:b", spans=elsewhere, closed_ns=None)) == ""


def test_what_a_killed_one_left_is_made_again(site: Site) -> None:
    ledger = site.ledger
    old = ledger.archived()[0]
    made = thin(site.folder / "ledger.db", ledger.archive.folder, site.folder / "projection.db", old)
    tidy(ledger)
    assert not (ledger.archive.folder / made.sealed.name).exists()
    assert site.let_go() == 2


def test_backup_restore_and_check_know_it(site: Site, tmp_path: Path) -> None:
    site.let_go()
    (site.folder / "collector.toml").write_text('[collector]\ndata_dir = "."\n')
    command = [sys.executable, "-m", "deploy.cli", "collector", "archive", "--json", "--verify"]
    command += ["--config", str(site.folder / "collector.toml")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    document = json.loads(done.stdout)
    assert (done.returncode, document["verified"], document["archived_upto"]) == (0, 60, 60)
    assert [one["first"] for one in document["removed"]] == [1, OLD_LAST + 1]
    site.archived(65)
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, "a file made after a removal follows what is there"
    manifest = backed_up(site, tmp_path / "kept" / "monday")
    assert manifest.missing == ()
    restore(tmp_path / "kept" / "monday", tmp_path / "new", now_ns=1)
    again = Ledger.open(tmp_path / "new" / "ledger.db", now_ns=lambda: 1)
    assert again.entries(after=0, limit=100) == site.ledger.entries(after=0, limit=100)
    assert [one.was for one in again.removals()] == [one.was for one in site.ledger.removals()]
    again.close()


def test_late_data_of_a_removed_time_is_kept_and_repeats_are_no_fault(site: Site) -> None:
    site.let_go()
    gateway = SimGateway(node="gw-1", epoch="11" * 8)
    site.take(gateway.nbirth(), gateway.dbirth("BR-01", [metric("temperature", 1)]))
    site.take(gateway.data(gateway.make("BR-01", numbers(1, T0_MS + 100_000, [5.0, 6.0]))))
    site.project()
    site.seal()
    found = site.sealed.read(POINT, from_ns=T0_MS * 10**6, to_ns=(T0_MS + 200_000) * 10**6)
    assert {5.0, 6.0} <= set(found.value.tolist())
    assert np.all(np.diff(found.time_ns) >= 0)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"keep_days": 20}, "must be more than archive_after_days = 30"),
        ({"keep_days": 9, "archive_after_days": 0}, "has no effect with archive_after_days = 0"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(given: dict[str, float], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        LedgerSection.model_validate(given)
