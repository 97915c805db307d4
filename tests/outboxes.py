"""What the outbox tests append, and a child process that appends until it is killed.

Run as a module (`python -m tests.outboxes FILE COUNT READINGS`) it appends COUNT times two segments in
one transaction and prints the last number after each commit.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from gateway.contract.codec import seal
from gateway.contract.decode import check_digest, decode_data
from gateway.contract.events import EVENT_METRIC, Event, UnknownEvent, parse_event
from gateway.contract.reading import Block, Field, Kind, Reading, block_of
from gateway.contract.segment import NO_PREVIOUS, Clock
from gateway.outbox.model import Draft, PointBinding, Stored
from gateway.outbox.store import Outbox

ROOT = Path(__file__).parent.parent
T0_MS = 1_700_000_000_000
CLOCK = Clock(boot="boot-1", monotonic_ns=5, wall_ns=T0_MS * 10**6, synchronised=True, bound_s=0.004)
SECOND_NS = 10**9
DAY_NS = 86_400 * SECOND_NS


class Wall:
    """A clock that stands until it is told."""

    def __init__(self) -> None:
        self.ns = T0_MS * 10**6

    def __call__(self) -> int:
        return self.ns


def a_block(n: int = 3, *, alias: int = 1, start_ms: int = T0_MS) -> Block:
    """Readings of one point, 100 ms apart."""
    return Block(
        key=np.full(n, alias, np.uint64),
        time_ms=start_ms + np.arange(n, dtype=np.int64) * 100,
        field=np.full(n, Field.DOUBLE, np.uint8),
        bits=np.linspace(36.9, 37.1, n).view(np.uint64),
        quality=np.full(n, 192, np.uint16),
        reason=np.zeros(n, np.uint16),
        names=(),
        strings=(),
        reasons=("",),
    )


def an_event(text: str = "{}") -> Block:
    return block_of([Reading(time_ms=T0_MS, kind=Kind.STRING, value=text, name="Journal/Event")])


def a_draft(n: int = 3, *, device: str = "BR-01", alias: int = 1, start_ms: int = T0_MS) -> Draft:
    return Draft(device=device, block=a_block(n, alias=alias, start_ms=start_ms), clock=CLOCK)


def a_binding(name: str = "temperature", *, profile: str = "p@1 aa", period_ms: int = 500) -> PointBinding:
    return PointBinding("BR-01", name, Kind.F64, "Cel", period_ms, profile)


def chain_faults(stored: list[Stored], epoch: str) -> list[str]:
    """What is wrong with the whole chain from number 1: gaps, digests, identities that disagree."""
    faults: list[str] = []
    previous = NO_PREVIOUS
    for expected, row in enumerate(stored, start=1):
        data = decode_data(seal(row.body, sent_ms=T0_MS, seq=0, historical=False))
        if row.number != expected or str(data.segment) != f"{epoch}/{expected}/{row.digest}":
            faults.append(f"number {row.number} where {expected} belongs: {data.segment}")
        if not check_digest(data, previous=previous, device=row.device):
            faults.append(f"the digest of {row.number} does not follow from its content")
        previous = row.digest
    return faults


def everything(outbox: Outbox) -> list[Stored]:
    return outbox.pending(after=0, count_max=10**6, bytes_max=2**40)


def main(path: str, count: str, readings: str) -> None:
    with Outbox.open(Path(path), now_ns=Wall()) as outbox:
        print("ready", flush=True)
        for _ in range(int(count)):
            ids = outbox.append([a_draft(int(readings)), a_draft(1, device="BR-02")])
            print(ids[-1].number, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])


def events(stored: list[Stored]) -> list[Event | UnknownEvent]:
    blocks = [decode_data(row.body).block for row in stored]
    return [parse_event(text) for block in blocks for _, _, text in block.named_values(EVENT_METRIC)]
