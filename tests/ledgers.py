"""A ledger and its projection without a broker: what is offered is sorted, committed and projected."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import apsw

from collector.flow.project import Projector
from collector.ingest.sort import Arrival, Sorter
from collector.store.database import Readers
from collector.store.decoded import SegmentCache
from collector.store.ledger import Committed, Ledger
from collector.store.live import LiveBoard
from collector.store.projection import Progress, Projection
from collector.store.schema import TABLES
from collector.store.served import LedgerReadings
from gateway.contract.topics import Topic
from tests.gateways import T0_MS


class Stores:
    """Everything in one folder; time advances a millisecond a commit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now_ns = T0_MS * 1_000_000
        self.ledger = Ledger.open(folder / "ledger.db", now_ns=self._tick)
        self.refused: set[tuple[tuple[str, str, str], int]] = set()
        self.sorter = Sorter(set(), is_refused=lambda key, number: (key, number) in self.refused)
        self._open()

    def _open(self) -> None:
        self.cache = SegmentCache(self.ledger)
        path = self.folder / "projection.db"
        self.projector = Projector(path, ledger=self.ledger, cache=self.cache)
        self.projection = Projection(path, ledger=self.ledger, live=LiveBoard())
        self.readings = LedgerReadings(ledger=self.ledger, projection=self.projection, cache=self.cache)

    def _tick(self) -> int:
        self.now_ns += 1_000_000
        return self.now_ns

    def take(self, *messages: tuple[str, bytes]) -> list[Committed]:
        """Sort and commit in one transaction."""
        drafts = []
        for topic_text, payload in messages:
            topic = Topic.parse(topic_text)
            assert topic is not None
            item = self.sorter.sort(Arrival(topic, payload, self.now_ns))
            if item is not None and item.draft is not None:
                drafts.append(item.draft)
        return self.ledger.commit(drafts)

    def project(self, limit: int = 256) -> list[Progress]:
        """Everything that is committed; refused numbers are wanted again."""
        out = []
        while (progress := self.projector.step(limit)).n:
            out.append(progress)
            self.refused |= {(one[:3], one[3]) for one in progress.refused}
            self.refused -= {(one[:3], one[3]) for one in progress.restored}
        return out

    def rebuild(self) -> None:
        """Delete the projection and begin again."""
        self.projector.close()
        self.projection.close()
        for suffix in ("", "-wal", "-shm"):
            (self.folder / f"projection.db{suffix}").unlink(missing_ok=True)
        self._open()

    def lose_last(self, n: int) -> None:
        """The ledger's file is damaged while nothing runs: its last `n` entries are gone."""
        self.close()
        with closing(apsw.Connection(str(self.folder / "ledger.db"))) as connection:
            connection.execute("DELETE FROM entry WHERE id > (SELECT max(id) FROM entry) - ?", (n,))
        self.ledger = Ledger.open(self.folder / "ledger.db", now_ns=self._tick)
        self._open()

    def dump(self) -> dict[str, list[Any]]:
        """Every row of every table."""
        readers = Readers(self.folder / "projection.db")
        out = {table: sorted(readers.rows(f"SELECT * FROM {table}"), key=repr) for table in TABLES}
        readers.close()
        return out

    def close(self) -> None:
        """Close every file."""
        self.projector.close()
        self.projection.close()
        self.ledger.close()
