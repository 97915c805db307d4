"""The simulated site as a process of its own: registers over Modbus TCP, a shipper over MQTT.

Owns the wall clock of the simulation: every second each device lives on from where its history ended,
and its registers change at once. Devices, addresses and topics come from the gateways' own edge.toml.
Run as `python -m deploy.demo.simulator SITE.json`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from deploy.demo.layout import SITE_FILE
from deploy.demo.story import KINDS, SEED, Story
from edge.config import EdgeConfig, load
from edge.model.points import Point
from edge.sim.modbus import Bank, ModbusServer
from edge.sim.mqtt import Publisher
from edge.sim.plant import MODELS, Columns, Plant, at
from edge.sim.registers import encode_device, fill_bank

TICK_S: Final = 1


def make_plant(name: str, story: Story) -> Plant:
    """A device of the story, at its origin."""
    seed = SEED * 100 + sorted(KINDS).index(name)
    return Plant(name, MODELS[KINDS[name]], seed, story.origin_s, story.hooks(name))


def save(path: Path, story: Story, plants: Iterable[Plant], configs: Sequence[Path]) -> None:
    """What the simulator needs to go on where the history ended."""
    states = {plant.name: {"second": plant.second, "state": plant.state.tolist()} for plant in plants}
    document = {
        "origin_s": story.origin_s,
        "history_s": story.history_s,
        "configs": [str(config) for config in configs],
        "plants": states,
    }
    path.write_text(json.dumps(document), encoding="utf-8")


def kept_story(folder: Path) -> Story | None:
    """The story of the site that was begun in this folder."""
    path = folder / SITE_FILE
    if not path.exists():
        return None
    kept = json.loads(path.read_text(encoding="utf-8"))
    return Story(kept["origin_s"], kept["history_s"])


@dataclass(frozen=True, slots=True)
class Polled:
    """A plant and the registers it answers with."""

    plant: Plant
    points: tuple[Point, ...]
    bank: Bank


class Site:
    """All devices of all gateways."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._story = Story(document["origin_s"], document["history_s"])
        self._plants = {}
        for name, kept in document["plants"].items():
            plant = make_plant(name, self._story)
            plant.second, plant.state = kept["second"], np.array(kept["state"])
            self._plants[name] = plant
        self._now: dict[str, Columns] = {}
        self._polled: list[Polled] = []
        self._banks: dict[tuple[str, int], dict[int, Bank]] = {}
        self._publishers: list[Publisher] = []
        for path in document["configs"]:
            self._add(load(Path(path)).config)
        self.tick()

    def _add(self, config: EdgeConfig) -> None:
        for device in config.devices:
            bank = Bank()
            self._banks.setdefault(config.buses[device.bus].address, {})[device.unit] = bank
            self._polled.append(Polled(self._plants[device.id], device.points, bank))
        for source in config.sources:
            for heard in source.devices:
                fields = {point.value.removeprefix("/"): name for name, point in heard.points.items()}
                first = next(iter(heard.points.values()))
                self._publishers.append(
                    Publisher(
                        host=source.broker.host,
                        port=source.broker.port,
                        topic=first.topic,
                        client_id=f"sensor-{heard.id}",
                        message=self._messages(heard.id, fields, (first.period_ms or 10_000) / 1000),
                        pause=asyncio.sleep,
                    )
                )

    def _messages(self, device: str, fields: Mapping[str, str], period_s: float) -> Any:
        def message() -> tuple[float, dict[str, object]]:
            columns = self._now[device]
            values = at(columns, list(fields.values()))
            body: dict[str, object] = {key: round(values[name], 2) for key, name in fields.items()}
            body["ts"] = (self._story.origin_s + int(columns.second[-1])) * 1000
            return period_s - time.time() % period_s, body

        return message

    def tick(self) -> None:
        """Bring every device to this second."""
        second = int(time.time()) - self._story.origin_s
        for name, plant in self._plants.items():
            if second >= plant.second:
                plant.skip(second - plant.second)
                self._now[name] = plant.run(1)
        for polled in self._polled:
            fill_bank(
                polled.bank, polled.points, encode_device(polled.points, self._now[polled.plant.name].values)
            )

    async def run(self, stop: asyncio.Event) -> None:
        """Answer until `stop`. Raises OSError when a port is taken."""
        servers = [ModbusServer(banks=banks, host=at[0], port=at[1]) for at, banks in self._banks.items()]
        for server in servers:
            await server.start()
        async with asyncio.TaskGroup() as tasks:
            publishing = [tasks.create_task(publisher.run()) for publisher in self._publishers]
            while not stop.is_set():
                self.tick()
                try:
                    async with asyncio.timeout(TICK_S - time.time() % TICK_S):
                        await stop.wait()
                except TimeoutError:
                    continue
            for task in publishing:
                task.cancel()
        for server in servers:
            await server.close()


async def _main(site: Site) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await site.run(stop)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    asyncio.run(_main(Site(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))))
