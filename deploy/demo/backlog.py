"""The past of a demo gateway: from physics to registers to the agent's own decode-append path.

Owns the slots of the history (slot k of period P at origin + k P, answered a few milliseconds later)
and nothing of how they are decoded, cut or numbered: that is `edge.app.backfill`. Blocking.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from deploy.demo.story import Story
from edge.app import backfill, bind, make_detecting, open_outbox
from edge.config import EdgeConfig
from edge.keep.history import HeardHistory, PolledHistory
from edge.model.plan import Request
from edge.sim.plant import Columns, Plant
from edge.sim.registers import Words, encode_device
from gateway.contract.events import Scan

ANSWER_MS: Final = 9
"""What a Modbus TCP answer takes in the demo: a reading's time is when its answer arrived."""


@dataclass(frozen=True, slots=True)
class Made:
    """What one gateway's past holds."""

    segments: int
    readings: int
    events: int


def make(config: EdgeConfig, story: Story, plants: Mapping[str, Plant]) -> Made:
    """Append the whole history of one gateway; its plants then stand at the history's end."""
    polled: list[PolledHistory] = []
    heard: list[HeardHistory] = []
    for device in config.devices:
        columns, every_s = _lived(plants[device.id], story, [point.period_ms for point in device.points])
        words = encode_device(device.points, columns.values)
        polled += [_answers(device.id, request, words, story, every_s) for request in device.requests]
    for source in config.sources:
        for sensor in source.devices:
            periods = [point.period_ms or 1000 for point in sensor.points.values()]
            columns, every_s = _lived(plants[sensor.id], story, periods)
            for name, period_ms in zip(sensor.points, periods, strict=True):
                step = period_ms // (1000 * every_s)
                # The sensor states its own time and two decimals, live and here alike.
                times_ms = (columns.second[::step] + story.origin_s) * 1000
                heard.append(
                    HeardHistory(sensor.id, name, times_ms, np.round(columns.values[name][::step], 2))
                )
    with open_outbox(config) as outbox:
        keys = bind(config, outbox)
        done = backfill(
            outbox=outbox,
            config=config,
            keys=keys,
            detecting=make_detecting(config, keys),
            polled=polled,
            heard=heard,
            events=list(_scans(config, story)),
            boot_wall_ms=story.origin_s * 1000,
        )
    return Made(done.segments, done.readings, done.events)


def _lived(plant: Plant, story: Story, periods_ms: list[int]) -> tuple[Columns, int]:
    """The plant's whole history at the greatest step that all its points' slots share, in seconds."""
    every_s = math.gcd(*(max(1, period_ms // 1000) for period_ms in periods_ms))
    rows = story.history_s // every_s
    columns = plant.run(rows, every_s=every_s)
    plant.skip(story.history_s - plant.second)
    return columns, every_s


def _answers(
    device: str, request: Request, words: Mapping[str, Words], story: Story, every_s: int
) -> PolledHistory:
    """One request's answers in every slot of the history."""
    rows = len(next(iter(words.values())))
    slots = np.arange(rows * every_s * 1000 // request.period_ms, dtype=np.int64)
    due_ms = slots * request.period_ms
    row = due_ms // (1000 * every_s)
    registers = np.zeros((len(slots), request.count), np.uint16)
    for point in request.points:
        at = request.offset(point)
        registers[:, at : at + point.width] = words[point.name][row]
    return PolledHistory(device, request, story.origin_s * 1000 + due_ms + ANSWER_MS, registers)


def _scans(config: EdgeConfig, story: Story) -> Iterator[Scan]:
    return (scan for node, _, scan in story.scans() if node == config.gateway.node)
