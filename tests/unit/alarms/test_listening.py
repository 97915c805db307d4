"""A gateway that dies while nobody listens leaves no death certificate: who listens notices."""

from __future__ import annotations

from pathlib import Path

from collector.flow.alarming.stepper import Stepper
from collector.flow.alarming.task import UNHEARD_S, Alarming
from collector.registry.journal import Journal
from collector.store.alarms.file import ALARMS_NAME, AlarmFile
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
