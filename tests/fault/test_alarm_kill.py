"""The alarms' follower is killed again and again, and cut into steps of any size: the same moves, once."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import apsw
import pytest

from collector.flow.alarming import stepper as stepping
from collector.flow.alarming.stepper import Stepper
from collector.identity.requests import RuleRequest
from collector.identity.rows import RowKind
from collector.registry.commands import Registry, post_rule
from collector.registry.journal import Journal
from collector.store.alarms.file import ALARMS_NAME, AlarmFile
from collector.store.ledger import Ledger
from collector.store.live import LiveBoard
from collector.store.projection import Projection
from gateway.contract import births
from tests.gateways import T0_MS, SimGateway, metric, numbers
from tests.ledgers import Stores

FREEZER = "FRZ-01"
HIGH = "alarm:frz-high/high"
PARTS = 240
MS = 1_000_000

FOLLOW = """
import sys
from pathlib import Path
from tests.fault import test_alarm_kill
test_alarm_kill.follow(Path(sys.argv[1]), entries_max=3, tell=True)
"""


def follow(folder: Path, *, entries_max: int, tell: bool = False) -> None:
    """Take everything in steps of so many entries; `tell` says each on stdout."""
    ledger = Ledger.open(folder / "ledger.db", now_ns=lambda: 0)
    journal = Journal.open(url="sqlite:", data_dir=folder, now_ns=lambda: 0)
    projection = Projection(folder / "projection.db", ledger=ledger, live=LiveBoard())
    file = AlarmFile(folder / ALARMS_NAME, ledger=ledger.id, silent_until_ns=0)
    stepper = Stepper(file, ledger=ledger, journal=journal, projection=projection)
    if tell:
        print("ready", flush=True)
    with mock.patch.object(stepping, "ENTRIES_MAX", entries_max):
        while stepper.step():
            if tell:
                print(stepper.cursor.ledger, flush=True)
    stepper.settle(1 << 62)
    stepper.close()
    projection.close()
    journal.close()
    ledger.close()


def moves(folder: Path) -> list[tuple[Any, ...]]:
    """The log and the outbox, read without any of our code."""
    connection = apsw.Connection(str(folder / ALARMS_NAME))
    try:
        log = connection.execute(
            "SELECT seq, alarm, ledger, journal, known_ns, data_ns, event, before, after, actor, told,"
            " refused FROM log ORDER BY seq"
        ).fetchall()
        return [*log, *connection.execute("SELECT n, seq, why FROM outbox ORDER BY n").fetchall()]
    finally:
        connection.close()


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Excursions live, late and in backlog; acknowledgements, a shelf, a new version, a death and a birth."""
    stores, gateway = Stores(tmp_path), SimGateway()
    journal = Journal.open(url="sqlite:", data_dir=tmp_path, now_ns=lambda: stores.now_ns)
    registry = Registry(journal=journal, acts=lambda _upto: [])

    def rule(**more: Any) -> None:
        body = {"id": "frz-high", "point": f"zurich/gw-1/{FREEZER}/temperature", "high": -15.0, **more}
        post_rule(registry, "anna", RuleRequest.model_validate(body))

    def command(event: str, **more: Any) -> None:
        body = {"event": event, **more}
        journal.append(kind=RowKind.ALARM, subject=HIGH, body=body, actor="anna", reason="seen")

    draw = random.Random(3)
    stores.take(gateway.nbirth(), gateway.dbirth(FREEZER, [metric("temperature", 1)]))
    rule(low=-40.0)
    for part in range(PARTS):
        at_ms = T0_MS + part * 5000
        late_ms = 3_600_000 if part % 40 == 39 else 0
        stores.now_ns = max(stores.now_ns, (at_ms + 5000) * MS)
        values = [draw.choice((-20.0, -20.0, -14.0, -45.0)) for _ in range(5)]
        stores.take(gateway.data(gateway.make(FREEZER, numbers(1, at_ms - late_ms, values))))
        if part % 7 == 3:
            command("ack")
        if part % 31 == 5:
            command("shelve", until_ns=stores.now_ns + 12_000 * MS, one_shot=part % 2 == 0)
        if part == PARTS // 2:
            rule(low=-40.0, alarm={"priority": "high"})
        if part == PARTS - 60:
            stores.take(("spBv1.0/zurich/NDEATH/gw-1", births.encode_ndeath(bd_seq=0, sent_ms=at_ms)))
        if part == PARTS - 20:
            stores.take(gateway.nbirth(), gateway.dbirth(FREEZER, [metric("temperature", 1)]))
    stores.project()
    stores.close()
    journal.close()
    return tmp_path


def test_any_cut_and_any_kill_give_the_same_moves(site: Path) -> None:
    wanted: list[tuple[Any, ...]] = []
    for entries_max in (10_000, 1, 7):
        for path in site.glob(f"{ALARMS_NAME}*"):
            path.unlink()
        follow(site, entries_max=entries_max)
        wanted = wanted or moves(site)
        assert moves(site) == wanted
    events = {row[6] for row in wanted if len(row) > 3}
    assert {"true", "clear", "ack", "shelve", "shelf_over", "priority_rose", "retrospective"} <= events
    assert any(str(row[1]).startswith("alarm:offline/") for row in wanted)

    for path in site.glob(f"{ALARMS_NAME}*"):
        path.unlink()
    draw = random.Random(5)
    for _ in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", FOLLOW, str(site)], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            for _ in range(draw.randrange(1, 12)):
                child.stdout.readline()
            until_s = time.monotonic() + draw.random() * 0.01
            while time.monotonic() < until_s:
                pass
            child.send_signal(signal.SIGKILL)
        killed = [row for row in moves(site) if len(row) > 3]
        assert killed == wanted[: len(killed)], "what is there is the beginning of the whole"
    assert 0 < len(killed) < len(wanted), "killed too late to mean anything"
    follow(site, entries_max=3)
    assert moves(site) == wanted
