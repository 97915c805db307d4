"""The judge's own rules on receipts and ledger ids, on made-up folders."""

from __future__ import annotations

import json
from pathlib import Path

from tests.soak.judge import Site

S = 1_000_000_000


def site(folder: Path, receipts: list[tuple[int, int, str, int]], damage_s: tuple[int, ...] = ()) -> Site:
    """`receipts` are (connection, second, ledger, upto)."""
    facts = {"points": [], "url": "", "token": "", "flush_s": 1, "period_s": 1}
    (folder / "site.json").write_text(json.dumps(facts))
    (folder / "truth.csv").write_text("point,count,unix_ns\n")
    (folder / "offsets.csv").write_text("node,unix_ns,offset_ns\n")
    kills = [f"collector,{at * S},damage" for at in damage_s] + [f"collector,{5 * S},memory"]
    (folder / "kills.csv").write_text("\n".join(["node,unix_ns,why", *kills]) + "\n")
    rows = [f"{connection},{at * S},{ledger},e,{upto}" for connection, at, ledger, upto in receipts]
    (folder / "receipts.csv").write_text("\n".join(["connection,unix_ns,ledger,epoch,upto", *rows]) + "\n")
    return Site(folder)


def test_a_receipt_that_goes_back_is_taken_back_whatever_was_damaged(tmp_path: Path) -> None:
    found = site(tmp_path, [(1, 1, "a", 10), (2, 9, "a", 7), (2, 10, "a", 11)], damage_s=(6,))
    assert len(found.taken_back()) == 1
    assert found.changed() == []


def test_under_a_new_ledger_id_receipts_begin_anew_once_for_each_damage(tmp_path: Path) -> None:
    rows = [(1, 1, "a", 10), (2, 9, "b", 7), (3, 12, "c", 3)]
    assert site(tmp_path, rows, damage_s=(6, 10)).taken_back() == []
    assert site(tmp_path, rows, damage_s=(6, 10)).changed() == []
    assert len(site(tmp_path, rows, damage_s=(6,)).changed()) == 1
    assert len(site(tmp_path, rows, damage_s=(10, 20)).changed()) == 1, "damage explains what comes after it"
    assert len(site(tmp_path, rows).changed()) == 2


def test_a_late_row_of_an_earlier_connection_counts_in_its_place(tmp_path: Path) -> None:
    assert site(tmp_path, [(2, 8, "a", 12), (1, 9, "a", 10)]).taken_back() == []
