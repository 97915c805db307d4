"""One reading of every point, for people: asked or heard once, stored nowhere.

Owns the order of one pass: the buses side by side, on a bus one device after the other. Safe beside a
running agent: connections of its own, a clean session with sources. Must not know slots or the outbox.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge.drivers.lines.made import make_line
from edge.drivers.lines.port import Line, ReadError
from edge.drivers.messages import UnusableError, Wanted, read_message
from edge.model.clocks import Clocks, ms_up
from edge.model.columns import REASONS, Columns
from edge.model.decode import decode_answers, mark_wrong_device
from gateway.contract.reading import Quality, Reason, Value, value_from_bits
from gateway.link.client import Heard, Link, LinkError

if TYPE_CHECKING:
    from edge.config import EdgeConfig, ModbusDevice, Source
    from edge.model.plan import Request


@dataclass(frozen=True, slots=True)
class Probed:
    """What one point said; without `time_ms` it said nothing, for `reason`."""

    device: str
    name: str
    unit: str
    value: Value | None
    quality: str
    reason: str
    time_ms: int | None


async def probe(config: EdgeConfig, *, clocks: Clocks, listen_s: float) -> list[Probed]:
    """Every point once, in the order of the file; sources are listened to for at most `listen_s`."""
    lines = [_line(config, bus, clocks) for bus in config.buses]
    sources = [_listen(source, clocks, listen_s) for source in config.sources]
    found = [one for some in await asyncio.gather(*lines, *sources) for one in some]
    order = {(binding.device, binding.name): at for at, binding in enumerate(config.bindings())}
    return sorted(found, key=lambda one: order[one.device, one.name])


async def _line(config: EdgeConfig, bus: str, clocks: Clocks) -> list[Probed]:
    devices = [device for device in config.devices if device.bus == bus]
    line = make_line(config.buses[bus], clocks)
    try:
        return [one for device in devices for one in await _device(device, line)]
    finally:
        line.close()


async def _device(device: ModbusDevice, line: Line) -> list[Probed]:
    out: list[Probed] = []
    wrong, never = False, asyncio.Event()
    for request in device.requests:
        try:
            answer = await line.ask(device.unit, request, never)
        except ReadError as error:
            out += [_silent(device.id, point.name, point.spec.unit, error.reason) for point in request.points]
            continue
        times = np.array([ms_up(answer.mid_wall_ns)], np.int64)
        registers = answer.registers[np.newaxis, :]
        columns, identity = decode_answers(
            request, registers, times, {point.name: at for at, point in enumerate(request.points)}
        )
        wrong = wrong or (identity is not None and not bool(identity[0]))
        out += _read(device.id, request, [mark_wrong_device(c) for c in columns] if wrong else columns)
    return out


def _read(device: str, request: Request, columns: Sequence[Columns]) -> list[Probed]:
    out = []
    for column in columns:
        point = request.points[int(column.key[0])]
        value = value_from_bits(int(column.field[0]), int(column.bits[0]), point.kind, column.strings)
        out.append(_probed(device, point.name, point.spec.unit, column, value))
    return out


async def _listen(source: Source, clocks: Clocks, listen_s: float) -> list[Probed]:
    """The first usable message for each point, in a session that takes nothing from the agent's."""
    wanted: dict[str, list[Wanted]] = {}
    for device in source.devices:
        for name, spec in device.points.items():
            wanted.setdefault(spec.topic, []).append(Wanted(device.id, name, len(wanted), spec))
    found: dict[tuple[str, str], Probed] = {}
    missing = {(one.device, one.name) for some in wanted.values() for one in some}
    whole = asyncio.Event()
    reason = Reason.SOURCE_STALE

    def take(heard: Heard) -> None:
        with contextlib.suppress(UnusableError):
            for one in read_message(
                heard.payload, wanted.get(heard.topic, ()), received_ms=ms_up(clocks.wall_ns())
            ):
                point, column = one.wanted, one.columns
                value = value_from_bits(
                    int(column.field[0]), int(column.bits[0]), point.spec.kind, column.strings
                )
                found[point.device, point.name] = _probed(
                    point.device, point.name, point.spec.unit, column, value
                )
        if missing <= found.keys():
            whole.set()

    link = Link(broker=source.broker, client_id=f"probe-{uuid.uuid4().hex[:12]}", on_message=take)
    try:
        async with asyncio.timeout(listen_s):
            await link.connect()
            await link.subscribe([(topic, 0) for topic in sorted(wanted)])
            await whole.wait()
    except LinkError:
        reason = Reason.DISCONNECTED
    except TimeoutError:
        pass  # what was heard until then is the answer
    finally:
        link.drop("probed")
    silent = [one for some in wanted.values() for one in some if (one.device, one.name) not in found]
    return [*found.values(), *(_silent(one.device, one.name, one.spec.unit, reason) for one in silent)]


def _probed(device: str, name: str, unit: str, column: Columns, value: Value | None) -> Probed:
    quality, reason = Quality(int(column.quality[0])).word, REASONS[int(column.reason[0])]
    return Probed(device, name, unit, value, quality, reason, int(column.time_ms[0]))


def _silent(device: str, name: str, unit: str, reason: Reason) -> Probed:
    stale = reason is Reason.SOURCE_STALE
    return Probed(device, name, unit, None, (Quality.STALE if stale else Quality.BAD).word, reason, None)
