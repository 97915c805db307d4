"""A gateway that dies while nobody listens leaves no death certificate: who listens notices."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import apsw
import pytest

from collector.flow.alarming.stepper import Stepper
from collector.flow.alarming.task import UNHEARD_S, Alarming
from collector.registry.journal import Journal
from collector.store.alarms.file import ALARMS_NAME, AlarmFile, AlarmReading
from collector.store.live import LiveBoard
from tests.gateways import SimGateway, metric, numbers
from tests.ledgers import Stores

NODE = "alarm:offline/zurich/gw-1"
S = 1_000_000_000


async def test_a_gateway_that_is_not_heard_is_written_down_once(tmp_path: Path) -> None:
    stores, gateway, live = Stores(tmp_path), SimGateway(), LiveBoard()
    journal = Journal.open(url="sqlite:", data_dir=tmp_path, now_ns=lambda: stores.now_ns)
    file = AlarmFile(tmp_path / ALARMS_NAME, ledger=stores.ledger.id, silent_until_ns=0)
    stepper = Stepper(file, ledger=stores.ledger, journal=journal, projection=stores.projection)
    alarming = Alarming(
        stepper, journal=journal, projection=stores.projection, live=live, now_ns=lambda: stores.now_ns
    )

    def pass_s(seconds: float) -> None:
        stores.now_ns += round(seconds * S)
        while alarming._turn():
            pass

    stores.take(gateway.nbirth(), gateway.dbirth("FRZ-01", [metric("temperature", 1)]))
    stores.project()
    pass_s(3600)
    assert NODE not in stepper.board.alarms, "without a broker nobody is heard, and nobody is blamed"
    live.broker_connected = True
    pass_s(1)
    pass_s(UNHEARD_S - 20)
    live.heard(("zurich", "gw-1"), stores.now_ns)
    pass_s(UNHEARD_S - 20)
    assert NODE not in stepper.board.alarms, "it said something meanwhile"
    pass_s(60)
    assert stepper.board.alarms[NODE].state.letter == "B"
    pass_s(600)
    rows = journal.rows(kinds=("alarm_silence",))
    assert [(row.actor, row.subject) for row in rows] == [("system", "node:zurich/gw-1")]
    stores.take(gateway.data(gateway.make("FRZ-01", numbers(1, stores.now_ns // 1_000_000, [-20.0]))))
    stores.project()
    pass_s(1)
    assert stepper.board.alarms[NODE].state.letter == "D"
    live.broker_connected = False
    pass_s(3600)
    live.broker_connected = True
    pass_s(60)
    assert len(journal.rows(kinds=("alarm_silence",))) == 1, "what was not listened to counts for nothing"
    stepper.close()
    stores.close()
    journal.close()


@dataclass(slots=True)
class Bench:
    """A ledger, a journal and the alarms' task, stepped by hand."""

    stores: Stores
    journal: Journal
    live: LiveBoard
    path: Path
    file: AlarmFile
    alarming: Alarming

    @property
    def stepper(self) -> Stepper:
        return self.alarming._stepper

    def turns(self) -> None:
        """Until there is no more to do."""
        for _ in range(100):
            if not self.alarming._turn():
                return
        raise AssertionError("it goes on for ever")


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    stores, live = Stores(tmp_path), LiveBoard()
    journal = Journal.open(url="sqlite:", data_dir=tmp_path, now_ns=lambda: stores.now_ns)
    file = AlarmFile(tmp_path / ALARMS_NAME, ledger=stores.ledger.id, silent_until_ns=0)
    stepper = Stepper(file, ledger=stores.ledger, journal=journal, projection=stores.projection)
    alarming = Alarming(
        stepper, journal=journal, projection=stores.projection, live=live, now_ns=lambda: stores.now_ns
    )
    yield Bench(stores, journal, live, tmp_path / ALARMS_NAME, file, alarming)
    stepper.close()
    stores.close()
    journal.close()


async def test_a_clock_that_is_set_back_makes_nobody_deaf(bench: Bench) -> None:
    bench.stores.take(SimGateway().nbirth())
    bench.stores.project()
    bench.live.broker_connected = True
    bench.turns()
    bench.live.heard(("zurich", "gw-1"), bench.stores.now_ns)
    bench.stores.now_ns -= 3600 * S
    bench.turns()
    bench.stores.now_ns += round((UNHEARD_S + 20) * S)
    bench.turns()
    assert NODE in bench.stepper.board.alarms


async def test_a_step_that_the_disk_refused_twice_is_taken_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise apsw.IOError

    gateway = SimGateway()
    bench.stores.take(gateway.nbirth())
    bench.stores.project()
    bench.turns()
    bench.journal.append(
        kind="alarm_silence",
        subject="node:zurich/gw-1",
        body={"since_ns": bench.stores.now_ns},
        actor="system",
        reason="not heard",
    )
    bench.stores.now_ns += S
    with monkeypatch.context() as broken:
        broken.setattr(bench.file, "step", refused)
        broken.setattr(bench.file, "kept", refused)
        for _ in range(2):
            with pytest.raises(apsw.IOError):
                bench.turns()
    bench.turns()
    assert bench.stepper.board.alarms[NODE].state.letter == "B"
    assert [move.told for move in AlarmReading(bench.path).outbox(after=0)] == ["activated"]


async def test_a_decision_waits_for_what_is_not_projected_without_being_busy(bench: Bench) -> None:
    bench.stores.take(SimGateway().nbirth())
    bench.journal.append(
        kind="alarm_silence",
        subject="node:zurich/gw-1",
        body={"since_ns": bench.stores.now_ns},
        actor="system",
        reason="not heard",
    )
    bench.turns()
    assert bench.stepper.cursor.journal == 0
    bench.stores.project()
    bench.turns()
    assert bench.stepper.cursor.journal > 0
