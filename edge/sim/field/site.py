"""The simulated site: site.toml, the gateways' own edge.toml files that it points to, and everything running.

Devices, buses, profiles and sensors are read from the very files that the agents read, so that a site is
described once; site.toml adds models, faults and what differs. Owns the site's clock: seconds since `start`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from edge.config import EdgeConfig, ModbusDevice, load
from edge.model.points import RAW_SUFFIX
from edge.sim.field.device import FieldDevice
from edge.sim.field.faults import Faults, FaultSection
from edge.sim.field.lines import PtyLine, Station, TcpLine
from edge.sim.field.models import Model, plant, signals, stamps
from edge.sim.field.sensors import Sensor
from edge.sim.field.truth import Truth
from gateway.link.faults import ConfigError, Fault, load_toml_model

FLUSH_S: Final = 0.5
"""How much of the truth a SIGKILL of the simulator may take with it."""
_OF_PROFILE: Final = {
    "bioreactor-demo": "bioreactor",
    "incubator-demo": "incubator",
    "freezer-demo": "freezer",
}
ModelName = Literal["bioreactor", "incubator", "freezer", "shipper", "signal", "stamp"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SiteSection(_Section):
    """`[site]`."""

    edge: tuple[Path, ...] = Field(min_length=1, description="the gateways' edge.toml files")
    seed: int = 1


class LineSection(_Section):
    """A `[[line]]`: what the bus of an edge.toml does not say."""

    bus: str
    baud: Annotated[int, Field(ge=0)] | None = None
    connections_max: Annotated[int, Field(ge=0)] = 0


class FieldSection(_Section):
    """A `[[device]]`: what its profile does not say."""

    id: str
    model: ModelName | None = None
    strict: bool = False


class SiteFile(_Section):
    """site.toml as written."""

    site: SiteSection
    line: tuple[LineSection, ...] = ()
    device: tuple[FieldSection, ...] = ()
    fault: tuple[FaultSection, ...] = ()


class Site:
    """Everything that site.toml describes. `start`, then `run` until stopped, then `close`."""

    def __init__(self, file: SiteFile, configs: Mapping[Path, EdgeConfig], truth: Truth) -> None:
        self._file, self._truth = file, truth
        self._began = time.monotonic()
        self._origin_s = int(time.time())
        self._index = 0
        self.lines: dict[str, TcpLine | PtyLine] = {}
        self.sensors: list[Sensor] = []
        for config in configs.values():
            self._add(config)

    @classmethod
    def load(cls, path: Path, truth: Truth) -> Site:
        """Raises ConfigError with all faults of site.toml; of the first edge.toml that has any."""
        file, _ = load_toml_model(path, SiteFile)
        folder = path.absolute().parent
        configs = {one: load(folder / one).config for one in file.site.edge}
        devices = {device.id for config in configs.values() for device in config.devices}
        heard = {one.id for config in configs.values() for source in config.sources for one in source.devices}
        buses = {bus for config in configs.values() for bus in config.buses}
        wrong = [
            Fault(
                str(path),
                f"{kind}[{i}]",
                f"there is no {what} {name!r}",
                f"there are: {', '.join(sorted(known))}",
            )
            for kind, what, names, known in (
                ("device", "device", [one.id for one in file.device], devices),
                ("fault", "device", [one.device for one in file.fault], devices | heard),
                ("line", "bus", [one.bus for one in file.line], buses),
            )
            for i, name in enumerate(names)
            if name not in known
        ]
        if wrong:
            raise ConfigError(wrong)
        return cls(file, configs, truth)

    def now_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began

    # -- making

    def _add(self, config: EdgeConfig) -> None:
        sections = {one.bus: one for one in self._file.line}
        for name, bus in config.buses.items():
            section = sections.get(name) or LineSection(bus=name)
            on_it = [self._device(device) for device in config.devices if device.bus == name]
            serial = bus.scheme == "rtu"
            station = Station(
                name=name,
                devices=on_it,
                now_s=self.now_s,
                truth=self._truth,
                baud=section.baud if section.baud is not None else (bus.baud or 0),
                connections_max=section.connections_max,
            )
            if serial:
                self.lines[name] = PtyLine(station, path=Path(urlsplit(bus.url).path))
            elif on_it:
                host, port = bus.address
                self.lines[name] = TcpLine(station, host=host, port=port, rtu=bus.scheme == "rtu+tcp")
        for source in config.sources:
            for device in source.devices:
                self._index += 1
                self.sensors.append(
                    Sensor(
                        broker=source.broker,
                        device=device,
                        index=self._index,
                        faults=self._faults(device.id),
                        now_s=self.now_s,
                        truth=self._truth,
                    )
                )

    def _device(self, device: ModbusDevice) -> FieldDevice:
        section = next((one for one in self._file.device if one.id == device.id), FieldSection(id=device.id))
        self._index += 1
        return FieldDevice(
            id=device.id,
            unit=device.unit,
            points=[point for point in device.points if not point.name.endswith(RAW_SUFFIX)],
            model=self._model(section.model or _OF_PROFILE.get(device.profile.partition("@")[0], "signal")),
            faults=self._faults(device.id),
            strict=section.strict,
        )

    def _model(self, name: str) -> Model:
        if name == "stamp":
            return stamps(self._index)
        if name == "signal":
            return signals(self._index)
        return plant(name, seed=self._file.site.seed * 1000 + self._index, origin_s=self._origin_s)

    def _faults(self, device: str) -> Faults:
        return Faults([one for one in self._file.fault if one.device == device])

    # -- running

    async def start(self) -> None:
        """Open everything; the site's clock starts. Raises OSError when a port or link cannot be had."""
        self._began = time.monotonic()
        for line in self.lines.values():
            await line.start()
        faults = [one.model_dump(mode="json", exclude_defaults=True) for one in self._file.fault]
        self._truth.note("start", {"seed": self._file.site.seed, "faults": faults})
        self._truth.flush()

    def where(self) -> dict[str, str]:
        """Each line and where a client finds it."""
        return {
            name: str(line.path) if isinstance(line, PtyLine) else f"port {line.port}"
            for name, line in self.lines.items()
        }

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`."""
        async with asyncio.TaskGroup() as tasks:
            publishing = [tasks.create_task(sensor.run(stop)) for sensor in self.sensors]
            while not stop.is_set():
                self._truth.flush()
                try:
                    async with asyncio.timeout(FLUSH_S):
                        await stop.wait()
                except TimeoutError:
                    continue
            for task in publishing:
                task.cancel()

    async def close(self) -> None:
        """End every line; the truth is complete."""
        for line in self.lines.values():
            await line.close()
        self._truth.close()
