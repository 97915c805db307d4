"""The sealer's process: does what the collector asks, a line of JSON each way, and ends with it.

Owns the one `Sealer` of this process. It reads ledger and projection and writes chunks.db alone; killed at
any moment it leaves whole rounds. Run as `python -m collector.store.chunks.apart.worker DATA_DIR LEDGER_ID`.
Must not know when something is worth a round.
"""

from __future__ import annotations

import gc
import json
import os
import queue
import signal
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any, Final, TextIO

from collector.store.chunks.file import CHUNKS_NAME, is_condemned
from collector.store.chunks.memory import keep_freed
from collector.store.chunks.seal import Sealer
from collector.store.ledger.entries import LEDGER_NAME
from collector.store.ledger.reading import LedgerFollower
from collector.store.live import LiveBoard
from collector.store.projection import Projection
from gateway.contract.columns import warm

COLLECT_AFTER: Final = (50_000, 20, 100)
"""As the collector's: what travels here has no cycles."""


class DamagedError(Exception):
    """The chunks are damaged: they are made anew at the collector's next start."""


def serve(data_dir: Path, ledger_id: str, orders: queue.SimpleQueue[str], answers: TextIO) -> None:
    """Answer every order. The first one says how far the ledger is, before the file is opened."""
    first = orders.get()
    path = data_dir / CHUNKS_NAME
    ledger = LedgerFollower(data_dir / LEDGER_NAME, ledger_id=ledger_id)
    ledger.follow(int(json.loads(first)["last_id"]))
    if is_condemned(path):
        raise DamagedError(f"{path} is damaged: it is made anew at the next start")
    projection = Projection(data_dir / "projection.db", ledger=ledger, live=LiveBoard())
    with (
        closing(ledger),
        closing(projection),
        closing(Sealer(path, ledger=ledger, projection=projection)) as sealer,
    ):
        text = first
        while True:
            order = json.loads(text)
            ledger.follow(int(order["last_id"]))
            ledger.follow_removals()
            _say(answers, _done(sealer, str(order["do"])))
            text = orders.get()


def _done(sealer: Sealer, what: str) -> dict[str, Any]:
    entries = readings = gone = 0
    match what:
        case "step":
            sealed = sealer.step()
            entries, readings = sealed.entries, sealed.readings
        case "tidy":
            gone = sealer.tidy()
        case _:
            gone = sealer.drop()
    return {
        "entries": entries,
        "readings": readings,
        "gone": gone,
        "cursor": sealer.cursor,
        "untidy": sealer.untidy,
        "behind_removals": sealer.behind_removals,
    }


def _say(answers: TextIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _listen(orders: queue.SimpleQueue[str]) -> None:
    """Until the collector is gone: then nobody wants what is in hand, and the next start seals it."""
    for line in sys.stdin:
        orders.put(line)
    os._exit(0)


def main() -> None:
    """See the module."""
    os.umask(0o077)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the collector, which ends this process
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what is logged is no answer
    data_dir, ledger_id = Path(sys.argv[1]), sys.argv[2]
    orders: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    keep_freed()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
    warm()
    try:
        serve(data_dir, ledger_id, orders, answers)
    except Exception as error:  # whatever it is, the collector says it and starts this process again
        _say(answers, {"error": f"{error}" or repr(error)})
        sys.exit(1)


if __name__ == "__main__":
    main()
