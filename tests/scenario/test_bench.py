"""`telomere bench` as its user meets it: it lists names, and a quick run of the store gives every figure."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from deploy.bench import page, store
from deploy.bench.peers.lines import Layout, Lines
from tests.outside import telomere

PEERS = {"vs_influxdb", "vs_victoriametrics"}


async def test_without_a_name_it_lists_names() -> None:
    done = await telomere("bench", "--json")
    assert done.code == 0
    assert "store" in json.loads(done.out)
    wrong = await telomere("bench", "nothing")
    assert (wrong.code, "store" in wrong.err) == (2, True)


@pytest.mark.timeout(150)  # nine seconds on a machine of its own
async def test_a_quick_run_gives_every_figure_but_the_peers(tmp_path: Path) -> None:
    done = await telomere("bench", "store", "--quick", "--json", "--dir", str(tmp_path), timeout_s=140)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert set(found["not_measured"]) == PEERS
    for name in set(store.AIMS) - set(found["not_measured"]):
        assert found[name] > 0, name
    flow = found["sustained"]
    assert flow["queryable_in_the_end"] == flow["receipted"] == flow["readings_filled"]
    assert flow["cpu_s"]["collector"] > 0
    assert not list(tmp_path.iterdir())


async def test_batches_are_judged_again_with_one_answer(tmp_path: Path) -> None:
    peers = () if importlib.util.find_spec("duckdb") else ("--no-peers",)
    done = await telomere("bench", "judge", "--quick", "--json", *peers, "--dir", str(tmp_path), timeout_s=50)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["good"]
    assert found["same_answer_skipping"]
    assert found["same_answer_duckdb"] in ((None,) if peers else (True,))
    assert found["excursions"] >= found["batches_crossed"] >= 1
    assert found["readings"] == 200_000
    assert (found["findings"]["tracks"], found["findings"]["differing"]) == (4, 0)


@pytest.mark.parametrize("name", ["commit", "drain"])
async def test_the_other_measurements_run(tmp_path: Path, name: str) -> None:
    done = await telomere("bench", name, "--quick", "--json", "--dir", str(tmp_path), timeout_s=50)
    assert done.code == 0, done.err
    assert json.loads(done.out)["good"] is True


def test_the_page_gets_the_figures_between_its_marks(tmp_path: Path) -> None:
    target = tmp_path / "page.md"
    target.write_text(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n", encoding="utf-8")
    flow = {
        "seconds": 1,
        "receipted_per_s": 5,
        "queryable_per_s": 4,
        "cores_used": 1,
        "cores": 2,
        "cpu_s": {"x": 1},
    }
    made = {"cores": 2, "processor": "p", "commit": "c", "python": "3", "versions": {"telomere": "0"}}
    page.write(
        target, {"environment": made, "peers": {}, "sustained": flow, "sustained_readings_per_s": 12_345}
    )
    text = target.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "| `sustained_readings_per_s` | 12,345 | >= 1,000,000 |" in text
    assert "old" not in text


@pytest.mark.parametrize(("layout", "lines"), [(Layout.READING, 6), (Layout.SLOT, 3)])
def test_lines_for_the_peers_are_line_protocol(layout: Layout, lines: int) -> None:
    made = Lines("gw-00", 2, 100, 1_790_000_000_000, layout, 1)
    rows = made.batch(6).decode().splitlines()
    assert len(rows) == lines
    assert rows[0].startswith("bench,node=gw-00")
    assert rows[-1].endswith(" 1790000000200")
    assert sum(row.count("=") - row.count("node=") - row.count("point=") for row in rows) == 6
    again = made.batch(2).decode().splitlines()
    assert again[0].endswith(" 1790000000300")


async def test_the_modbus_bench_reads_a_holed_map_in_one_request(tmp_path: Path) -> None:
    done = await telomere("bench", "modbus", "--quick", "--json", "--dir", str(tmp_path), timeout_s=55)
    assert done.code == 0
    found = json.loads(done.out)
    asked = ("requests_holed_map", "requests_contiguous_only", "requests_one_a_tag")
    assert [found[name] for name in asked] == [1, 25, 100]
    assert found["times_pymodbus_tags"] > 5
    assert found["rss_mb_200"] > 0
