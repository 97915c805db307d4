"""A ledger, its projection and its chunks, without a broker: sealed when the test says so."""

from __future__ import annotations

from pathlib import Path

from collector.store.chunks.file import CHUNKS_NAME, ChunkReading
from collector.store.chunks.readings import ChunkReadings
from collector.store.chunks.seal import Sealer
from collector.store.chunks.tail import Tail
from tests.ledgers import Stores


class SealedStores(Stores):
    """`readings` is the oracle, decoded from the ledger; `sealed` answers from chunks and tail."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.open_chunks()

    def open_chunks(self) -> None:
        """Open or make the file of chunks."""
        path = self.folder / CHUNKS_NAME
        self.sealer = Sealer(path, ledger=self.ledger, projection=self.projection)
        self.chunks = ChunkReading(path)
        self.tail = Tail(ledger=self.ledger, projection=self.projection)
        self.sealed = ChunkReadings(
            chunks=self.chunks,
            tail=self.tail,
            ledger=self.readings,
            projection=self.projection,
        )

    def close_chunks(self) -> None:
        """Close it."""
        self.sealer.close()
        self.chunks.close()

    def seal(self) -> None:
        """Everything that is projected, merged as far as it pays."""
        while self.sealer.step().entries:
            pass
        while self.sealer.untidy:
            self.sealer.tidy()

    def close(self) -> None:
        """Close every file."""
        self.close_chunks()
        super().close()
