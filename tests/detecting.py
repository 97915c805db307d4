"""A gateway's intake with detectors on a virtual clock, as a process that can be killed.

    python -m tests.detecting FOLDER FLUSHES CHECKPOINT_S

Goes on after the last reading that is in the outbox, a reading a minute and three a flush; one word a
flush on stdout. From reading 700 on the probe drifts.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Final

import numpy as np

from edge.app import bind, make_detecting
from edge.config import load
from edge.keep import detecting
from edge.keep.drafts import Shape
from edge.keep.intake import Intake
from edge.keep.quarantine import Quarantine
from edge.keep.watch import LimitWatches
from edge.model.columns import Columns
from gateway.contract.codec import decode_data, seal
from gateway.contract.events import EVENT_METRIC, Detection, Note, parse_event
from gateway.outbox.store import Outbox

TEXT: Final = """
[gateway]
group = "g"
node = "n"
data_dir = "data"
[uplink]
broker = "mqtt://127.0.0.1:1"
[[source]]
id = "lab"
url = "mqtt://127.0.0.1:1"
[[source.device]]
id = "F-1"
[source.device.points.temperature]
topic = "f"
unit = "Cel"
period_ms = 60000
[detect]
learn_h = 3
drift_learn_h = 6
"""
BEGIN_MS: Final = 1_790_000_000_000
PER_FLUSH: Final = 3


def value_at(index: int) -> float:
    """The probe: noise, a wave, and from 700 on a drift of 2 degrees in 100 readings."""
    noise = np.sin(index * 12.9898) * 43758.5453
    return round(37 + 0.1 * float(noise - np.floor(noise)) + max(0, index - 700) * 0.02, 2)


class Clocks:
    """Stand still: nothing here depends on them."""

    boot = "virtual"

    def mono_ns(self) -> int:
        return time.monotonic_ns()

    def wall_ns(self) -> int:
        return BEGIN_MS * 1_000_000 + time.monotonic_ns()

    def trust(self) -> tuple[bool, float | None]:
        return True, 0.001


def texts(outbox: Outbox) -> tuple[int, list[Detection], list[Note]]:
    """Readings, detections and notes of all that the outbox holds."""
    count, found, notes = 0, [], []
    for stored in outbox.fetch(range(1, outbox.last_place() + 1)):
        block = decode_data(seal(stored.body, sent_ms=0, seq=0, historical=False)).block
        if stored.device != "-":
            count += len(block)
        for _, _, text in block.named_values(EVENT_METRIC):
            event = parse_event(text)
            found += [event] if isinstance(event, Detection) else []
            notes += [event] if isinstance(event, Note) else []
    return count, found, notes


async def run(folder: Path, flushes: int, checkpoint_s: float = 0.05) -> None:
    """Go on from what is there."""
    detecting.CHECKPOINT_S = checkpoint_s  # type: ignore[misc]
    path = folder / "edge.toml"
    path.write_text(TEXT)
    config = load(path).config
    config.gateway.data_dir.mkdir(exist_ok=True)
    outbox = Outbox.open(config.outbox_path, now_ns=time.time_ns)
    keys = bind(config, outbox)
    kept = make_detecting(config, keys)
    assert kept is not None
    intake = Intake(
        outbox=outbox,
        clocks=Clocks(),
        shape=Shape.of(config, keys),
        watches=LimitWatches(node="g/n", rules=(), aliases=keys),
        quarantine=Quarantine(config.gateway.data_dir),
        flush_s=1,
        wake=lambda: None,
        detecting=kept,
    )
    done, _, _ = texts(outbox)
    for event in kept.start(outbox):
        intake.event(event)
    key = next(iter(keys.values()))
    for _ in range(flushes):
        at = np.arange(done, done + PER_FLUSH)
        done += PER_FLUSH
        columns = Columns(
            np.full(PER_FLUSH, key, np.uint64),
            (BEGIN_MS + 60_000 * at).astype(np.int64),
            np.full(PER_FLUSH, 13, np.uint8),
            np.array([value_at(int(i)) for i in at]).view(np.uint64),
            np.full(PER_FLUSH, 192, np.uint16),
            np.zeros(PER_FLUSH, np.uint16),
        )
        intake.put("F-1", [columns], offset_ns=BEGIN_MS * 1_000_000)
        await intake.flush()
        print("flushed", flush=True)
    intake.close()
    outbox.close()


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
