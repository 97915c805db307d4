"""Detectors on this gateway: what goes into the outbox goes through the bank, in the outbox's order.

Owns the change of drafts into batches and of findings into events, and the checkpoint that makes a start
exact: what the detectors remember, with (epoch, number, index) of the last reading they have seen. A start
loads it and goes over what the outbox holds beyond; findings are known by their ids, so none is said twice
and none is lost. Must not know drivers nor the uplink.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import structlog
from numpy.typing import NDArray

from edge.detect import kernel
from edge.detect.bank import Bank, Batch
from edge.detect.finding import Finding
from edge.keep.checkpoint import CheckpointError, packed, unpacked, write
from gateway.contract.codec import seal
from gateway.contract.decode import decode_data
from gateway.contract.events import EVENT_METRIC, Detection, Note, parse_event
from gateway.contract.reading import NODE_DEVICE, Block, Field, Kind, Quality, Reason
from gateway.outbox.model import Draft, PointBinding
from gateway.outbox.store import Outbox

log = structlog.get_logger()

FILE: Final = "detect.state"
CHECKPOINT_S: Final = 60.0
"""So much is gone over at a start: some 10,000 readings of 200 points, half a second on a small board."""
SEGMENTS_AT_ONCE: Final = 200
FLOAT_MAX: Final = 1e308


@dataclass(frozen=True, slots=True)
class _Point:
    channel: int
    kind: Kind


@dataclass(slots=True, kw_only=True)
class Detecting:
    """The bank of a gateway beside its outbox; `told` hears of every finding as it is made."""

    bank: Bank
    keys: Mapping[PointBinding, int]
    path: Path
    told: Callable[[Sequence[Finding]], None] | None = None
    _by_key: dict[int, _Point] = field(default_factory=dict)
    _by_name: dict[tuple[str, str], _Point] = field(default_factory=dict)
    _next_ns: int = 0

    def __post_init__(self) -> None:
        place = {channel.point: at for at, channel in enumerate(self.bank.channels)}
        for binding, key in self.keys.items():
            at = place.get(f"{binding.device}/{binding.name}")
            if at is not None:
                self._by_key[key] = self._by_name[binding.device, binding.name] = _Point(at, binding.kind)

    def answer(self, drafts: Sequence[Draft]) -> list[Detection]:
        """What the detectors say of these drafts, which go to the outbox in this order."""
        return self._events((draft.device, draft.block) for draft in drafts)

    def go_over(self, blocks: Iterable[tuple[str, Block]]) -> list[Detection]:
        """The same of (device, block) that are past."""
        return self._events(blocks)

    def _events(self, blocks: Iterable[tuple[str, Block]]) -> list[Detection]:
        parts = [
            part for device, block in blocks if device != NODE_DEVICE for part in self._part(device, block)
        ]
        if not parts:
            return []
        batch = Batch(
            channel=np.concatenate([part.channel for part in parts]),
            time_ms=np.concatenate([part.time_ms for part in parts]),
            value=np.concatenate([part.value for part in parts]),
            kind=np.concatenate([part.kind for part in parts]),
        )
        found = [finding for _, finding in self.bank.feed(batch).findings]
        if found and self.told is not None:
            self.told(found)
        return [event_of(finding) for finding in found]

    def _part(self, device: str, block: Block) -> Iterator[Batch]:
        """The readings of points that have detectors, in their order."""
        distinct, inverse = np.unique(block.key, return_inverse=True)
        first = {int(key): index for index, key in reversed(list(enumerate(block.key.tolist())))}
        points = [self._point(device, block, int(key), first[int(key)]) for key in distinct]
        channel = np.array([-1 if one is None else one.channel for one in points], np.int64)[inverse]
        mine = np.flatnonzero(channel >= 0)
        if not len(mine):
            return
        signed = np.array([one is not None and one.kind is Kind.I64 for one in points])[inverse][mine]
        form, bits = block.field[mine], block.bits[mine]
        with np.errstate(invalid="ignore"):
            whole = np.where(signed, bits.view(np.int64).astype(np.float64), bits.astype(np.float64))
        value = np.where(form == Field.DOUBLE, bits.view(np.float64), whole)
        valued = form != int(Field.NONE)
        good = block.quality[mine] == int(Quality.GOOD)
        out = [code for code, reason in enumerate(block.reasons) if reason == Reason.RANGE]
        good |= np.isin(block.reason[mine], out)  # a value out of range is one: that is what is looked for
        yield Batch(
            channel=channel[mine],
            time_ms=block.time_ms[mine],
            value=np.where(valued, value, np.nan),
            kind=np.where(valued & good, kernel.GOOD, kernel.BAD).astype(np.uint8),
        )

    def _point(self, device: str, block: Block, key: int, index: int) -> _Point | None:
        name = block.name_of(index) if block.names else None
        return self._by_key.get(key) if name is None else self._by_name.get((device, name))

    def open_now(self) -> list[Detection]:
        """What is open, worst first."""
        found = sorted(self.bank.episodes.open.values(), key=lambda one: (-one.score, one.time_ms))
        return [event_of(finding) for finding in found]

    # -- across starts

    def due(self, mono_ns: int, *, last: bool) -> bool:
        """Whether a checkpoint is to be made now."""
        if not last and mono_ns < self._next_ns:
            return False
        self._next_ns = mono_ns + int(CHECKPOINT_S * 1e9)
        return True

    def checkpoint(self) -> Callable[[Outbox], None]:
        """What writes the state of this moment, when everything answered is in the outbox. Blocking."""
        document, arrays = self.bank.state()

        def keep(outbox: Outbox) -> None:
            place = outbox.last_place()
            at = {"epoch": outbox.epoch, "number": outbox.last_number(), "index": -1, "place": place}
            write(self.path, packed({"position": at, "bank": document}, arrays))

        return keep

    def start(self, outbox: Outbox) -> list[Detection | Note]:
        """Go on where an earlier run was killed: findings that are not in the outbox yet. Blocking."""
        kept, why = self._kept(outbox)
        if kept is None:
            if why:
                log.warning("the detectors start cold", reason=why)
                return [_note(outbox, f"detectors start cold: {why}")]
            return []
        place, document, arrays = kept
        dropped = self.bank.resume(document, arrays)
        reasons = sorted({f"{one.point} {one.detector}: {one.reason}".strip() for one in dropped})
        if reasons:
            log.warning("some detectors start cold", reasons=reasons)
        said: set[tuple[str, str]] = set()
        found: list[Detection] = []
        last = outbox.last_place()
        for begin in range(place + 1, last + 1, SEGMENTS_AT_ONCE):
            places = range(begin, min(begin + SEGMENTS_AT_ONCE, last + 1))
            blocks = []
            for stored in outbox.fetch(places):
                block = decode_data(seal(stored.body, sent_ms=0, seq=0, historical=False)).block
                blocks.append((stored.device, block))
                if stored.device == NODE_DEVICE:
                    said |= _said(block)
            found += self._events(blocks)
        missing = [event for event in found if (event.id, event.state) not in said]
        cold = [_note(outbox, f"detectors start cold: {'; '.join(reasons)}"[:2000])] if reasons else []
        return [*cold, *missing]

    def _kept(self, outbox: Outbox) -> tuple[tuple[int, dict[str, Any], dict[str, NDArray[Any]]] | None, str]:
        """Place, document and arrays of the checkpoint; or why there is none to go on with."""
        try:
            document, arrays = unpacked(self.path.read_bytes())
        except FileNotFoundError:
            return None, ""
        except (OSError, CheckpointError) as error:
            return None, f"{self.path.name}: {error}"
        position = document["position"]
        if position["epoch"] != outbox.epoch or position["place"] > outbox.last_place():
            return None, "the outbox is another one, or an older state of it"
        return (position["place"], document["bank"], arrays), ""


def event_of(finding: Finding) -> Detection:
    """As it travels."""
    expected = finding.expected_ms
    return Detection(
        id=finding.id,
        time=_time(finding.time_ms),
        detector=finding.detector,
        version=finding.version,
        parameters=finding.parameters,
        point=finding.point,
        state=finding.state,
        from_=_time(finding.from_ms),
        to=None if finding.to_ms is None else _time(finding.to_ms),
        score=finding.score,
        raw=_finite(finding.raw),
        threshold=_finite(finding.threshold),
        value=finding.value,
        unit=finding.unit[:50],
        expected=None if expected is None else (_time(expected[0]), _time(expected[1]), _time(expected[2])),
        sentence=finding.sentence,
    )


def _finite(value: float) -> float:
    return float(min(FLOAT_MAX, max(-FLOAT_MAX, value)))


def _said(block: Block) -> set[tuple[str, str]]:
    """(id, state) of the detections among these events."""
    events = (parse_event(text) for _, _, text in block.named_values(EVENT_METRIC))
    return {(event.id, event.state) for event in events if isinstance(event, Detection)}


def _note(outbox: Outbox, text: str) -> Note:
    name = f"detect-{outbox.epoch}-{outbox.last_place()}"
    return Note(id=name, time=datetime.now(UTC), actor="agent", note=text)


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
