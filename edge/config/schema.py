"""The sections of edge.toml as frozen models: what each key may be, one section at a time.

Owns keys, types, bounds and their hints. Must not know how sections refer to each other (`checks`),
where profiles lie (`profiles`) or what the agent does with any of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar
from urllib.parse import parse_qsl, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from edge.config.detection import DetectSection
from edge.model.plan import ANSWER_MS
from edge.model.points import PERIOD_MS_MAX, PERIOD_MS_MIN
from gateway.contract.events import DoorAct
from gateway.contract.reading import NODE_DEVICE, Kind
from gateway.contract.topics import IMPORT_GROUP, check_id
from gateway.link.broker import Broker, checked_url
from gateway.outbox.config import OutboxConfig
from gateway.rules.limits import Crossing, LimitRule
from gateway.uplink.config import UplinkConfig

RESERVED_NAMES: Final = (
    "bdSeq",
    "Node Control/",
    "Device Control/",
    "Outbox/",
    "Journal/",
    "Agent/",
    "Config/",
)
"""Metric names, or their first level, that the protocol itself uses."""
T = TypeVar("T")
BAUD: Final = 19_200
"""Of a serial bus that names none: the Modbus specification's default."""
SCANNER_BAUD: Final = 9_600
"""Of a scanner that names none: what most come with."""
SCANNER_BAUDS: Final = (1200, 2400, 4800, 9600, 19_200, 38_400, 57_600, 115_200)
LATE_MS_TCP: Final = 2000
LATE_MS_RTU: Final = 1000
"""Where a bus says no `late_ms`: its unit is asked nothing else meanwhile, the line goes on."""
SERIAL_BAUDS: Final = (
    300, 600, 1200, 1800, 2400, 4800, 9600, 19_200, 38_400, 57_600, 115_200, 230_400, 460_800, 921_600,
    1_000_000, 2_000_000, 4_000_000,
)  # fmt: skip
"""Speeds that Linux knows by name."""
_TIMEOUT_MS_MAX: Final = 2000
"""An answer that takes longer makes the clean stop within 5 s impossible."""


def _device_id(text: str) -> str:
    if text == NODE_DEVICE:
        msg = f"{NODE_DEVICE!r} stands for the gateway itself: give the device another id"
        raise ValueError(msg)
    return check_id(text)


def point_name(text: str) -> str:
    """A metric name of our own, or ValueError."""
    if not text or not text.isprintable() or len(text) > 200 or text.endswith("/readings"):
        msg = f"not usable as a point name (1..200 printable characters, not ending in /readings): {text!r}"
        raise ValueError(msg)
    if text.startswith(RESERVED_NAMES):
        msg = f"{text!r} belongs to the protocol: give the point another name"
        raise ValueError(msg)
    return text


def _pointer(text: str) -> str:
    if text and not text.startswith("/"):
        msg = f"a JSON pointer starts with '/': write '/{text}', or \"\" for a bare value"
        raise ValueError(msg)
    return text


def _topic(text: str) -> str:
    if not text or set("+#\0") & set(text):
        msg = f"not a topic of one sensor (no wildcards): {text!r}"
        raise ValueError(msg)
    return text


def _some(value: T) -> T:
    """Checked after the items: `min_length` would add a second fault to each faulty only item."""
    if not value:
        msg = "must not be empty"
        raise ValueError(msg)
    return value


Id = Annotated[str, AfterValidator(check_id)]
DeviceId = Annotated[str, AfterValidator(_device_id)]
Name = Annotated[str, AfterValidator(point_name)]
Pointer = Annotated[str, AfterValidator(_pointer)]
Topic = Annotated[str, AfterValidator(_topic)]
Priority = Annotated[int, Field(ge=0, le=9, description="0 to 9; the lowest goes first from a full outbox")]
Period = Annotated[
    int, Field(ge=PERIOD_MS_MIN, le=PERIOD_MS_MAX, description="milliseconds between two readings")
]


class Section(BaseModel):
    """A table of edge.toml: unknown keys are faults."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class GatewaySection(Section):
    """Who this gateway is and where it keeps its data."""

    group: Id = Field(description='the Sparkplug group, a site or suite: group = "zurich"')
    node: Id = Field(description='this gateway: node = "gw-suite"')
    data_dir: Path = Field(description='a folder of its own: data_dir = "var/gw-suite"')

    @field_validator("group")
    @classmethod
    def _not_of_files(cls, value: str) -> str:
        if value == IMPORT_GROUP:
            msg = f"{IMPORT_GROUP!r} is kept for imported files: give the site another name"
            raise ValueError(msg)
        return value

    @field_validator("data_dir")
    @classmethod
    def _beside_the_file(cls, value: Path, info: ValidationInfo) -> Path:
        return _in_folder(value, info)


class BusSection(Section):
    """One physical line: requests on it never overlap."""

    id: Id
    url: str = Field(
        description="tcp://host:port, rtu:///dev/serial/by-id/X?baud=19200&parity=E, rtu+tcp://host:port"
    )
    timeout_ms: Annotated[int, Field(ge=10, le=_TIMEOUT_MS_MAX)] = 300
    retries: Annotated[int, Field(ge=0, le=5)] = 1
    pause_ms: Annotated[int, Field(ge=0, le=1000)] = 5
    late_ms: Annotated[int, Field(ge=0, le=10_000)] | None = None
    turnaround_ms: Annotated[float, Field(ge=0, le=1000)] = ANSWER_MS
    connections: Literal["one", "each"] = "one"
    annunciator: bool = False

    @field_validator("url")
    @classmethod
    def _known(cls, value: str) -> str:
        bus_address(value)
        return value

    @property
    def scheme(self) -> str:
        """tcp, rtu or rtu+tcp."""
        return urlsplit(self.url).scheme

    @property
    def baud(self) -> int | None:
        """Of a serial line, or behind a serial server if it is told; None where bytes cost nothing."""
        told = _options(self.url).get("baud")
        if self.scheme == "rtu":
            return int(told or BAUD)
        return None if told is None else int(told)

    @property
    def speed(self) -> int:
        """Of a serial line."""
        return self.baud or BAUD

    @property
    def parity(self) -> str:
        """N, E or O; E where none is named: the Modbus specification's default."""
        return _options(self.url).get("parity", "E").upper()

    @property
    def stop_bits(self) -> int:
        """1 or 2."""
        return int(_options(self.url).get("stop", "1"))

    @property
    def patience_ms(self) -> int:
        """How long after its time-out an answer is still waited for."""
        if self.late_ms is not None:
            return self.late_ms
        return LATE_MS_TCP if self.scheme == "tcp" else LATE_MS_RTU

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of a TCP bus."""
        return bus_address(self.url)


class DeviceSection(Section):
    """A Modbus device; `points.NAME.KEY` overrides its profile by name."""

    id: DeviceId = Field(description='the device: id = "BR-01"')
    bus: str = Field(description="the id of a [[bus]]")
    unit: Annotated[int, Field(ge=0, le=255, description="Modbus unit id, 0 to 255")] = 1
    profile: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+@[0-9]+$", description="NAME@VERSION")]
    priority: Priority = 1
    points: dict[str, dict[str, Any]] = {}


class HeardPoint(Section):
    """A point of a sensor that publishes MQTT itself."""

    topic: Topic = Field(description="the topic that the sensor publishes")
    value: Pointer = Field(default="", description='JSON pointer to the value, "" for a bare number')
    time: Pointer | None = Field(default=None, description="JSON pointer to the source's own time")
    time_format: Literal["auto", "unix_s", "unix_ms", "iso8601"] = "auto"
    unit: str = "1"
    kind: Kind = Kind.F64
    period_ms: Period | None = None
    range: tuple[float, float] | None = Field(default=None, description="[low, high] in the unit")
    scale: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    offset: Annotated[float, Field(allow_inf_nan=False)] = 0.0

    @field_validator("range")
    @classmethod
    def _ascending(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not value[0] < value[1]:
            msg = "range must be [low, high] with low < high"
            raise ValueError(msg)
        return value


class SourceDevice(Section):
    """One sensor of a source."""

    id: DeviceId = Field(description='the sensor: id = "SHP-01"')
    priority: Priority = 1
    points: Annotated[dict[Name, HeardPoint], AfterValidator(_some)]


class SourceSection(Section):
    """A broker to which sensors publish. The session is persistent under one fixed client id."""

    id: Id
    url: Annotated[str, AfterValidator(checked_url)] = Field(
        description="mqtt://host:1883, or mqtts://host:8883 with ca_file"
    )
    client_id: str = ""
    username: str = ""
    password_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    device: Annotated[tuple[SourceDevice, ...], AfterValidator(_some)]

    @field_validator("password_file", "ca_file", "cert_file", "key_file")
    @classmethod
    def _beside_the_file(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        return None if value is None else _in_folder(value, info)

    @model_validator(mode="after")
    def _address(self) -> SourceSection:
        self.broker()
        return self

    def broker(self) -> Broker:
        """Where it is and how to be let in. Raises ValueError."""
        return Broker.parse(
            self.url,
            username=self.username,
            password_file=self.password_file or "",
            ca_file=self.ca_file or "",
            cert_file=self.cert_file or "",
            key_file=self.key_file or "",
        )


class LimitSection(Section):
    """A limit that is evaluated here too, so that it works with no uplink."""

    point: str = Field(description='device/name, for example "FRZ-01/temperature"')
    id: str = ""
    high: Annotated[float, Field(allow_inf_nan=False)] | None = None
    low: Annotated[float, Field(allow_inf_nan=False)] | None = None
    delay_s: Annotated[float, Field(ge=0)] = 0.0
    hysteresis: Annotated[float, Field(ge=0)] = 0.0
    clear_delay_s: Annotated[float, Field(ge=0)] = 0.0
    crossing: Crossing = Crossing.CONSERVATIVE
    version: Annotated[int, Field(ge=1)] = 1

    @model_validator(mode="after")
    def _possible(self) -> LimitSection:
        self.rule()
        return self

    def rule(self) -> LimitRule:
        """The rule as both ends evaluate it. Raises ValueError."""
        sides = "" if None not in {self.high, self.low} else "-high" if self.low is None else "-low"
        return LimitRule(
            id=self.id or f"rule:{self.point.replace('/', '-').lower()}{sides}",
            version=self.version,
            point=self.point,
            high=self.high,
            low=self.low,
            delay_s=self.delay_s,
            hysteresis=self.hysteresis,
            crossing=self.crossing,
            clear_delay_s=self.clear_delay_s,
        )


class ScannerSection(Section):
    """A barcode scanner on a serial line, bound to the equipment that it stands at."""

    id: Id = Field(description='this scanner: id = "door-frz-01"')
    url: str = Field(description="serial:///dev/serial/by-id/X?baud=9600")
    equipment: Annotated[str, Field(min_length=1, max_length=200)] = Field(
        description='where it stands: equipment = "FRZ-01"'
    )
    act: DoorAct = "put_in"
    repeat_ms: Annotated[int, Field(ge=0, le=60_000)] = 2000
    actor: Annotated[str, Field(max_length=200)] = ""
    controls: dict[str, DoorAct] = {}
    beep: bool = False

    @field_validator("url")
    @classmethod
    def _known(cls, value: str) -> str:
        serial_line(value)
        return value

    @property
    def line(self) -> tuple[str, int]:
        """Device file and speed."""
        return serial_line(self.url)


class ScanSection(Section):
    """The scan page that this gateway serves to phones and hand scanners."""

    listen: str = Field(description='address and port: listen = "127.0.0.1:8090"')
    names: tuple[str, ...] = ()
    equipment: tuple[str, ...] = ()
    badges_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    @field_validator("listen")
    @classmethod
    def _known(cls, value: str) -> str:
        listen_address(value)
        return value

    @field_validator("badges_file", "cert_file", "key_file")
    @classmethod
    def _beside_the_file(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        return None if value is None else _in_folder(value, info)

    @model_validator(mode="after")
    def _pair(self) -> ScanSection:
        if (self.cert_file is None) != (self.key_file is None):
            msg = "give cert_file and key_file together"
            raise ValueError(msg)
        return self

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return listen_address(self.listen)


class EdgeFile(Section):
    """edge.toml as written."""

    gateway: GatewaySection
    uplink: UplinkConfig
    outbox: OutboxConfig = OutboxConfig()
    bus: tuple[BusSection, ...] = ()
    device: tuple[DeviceSection, ...] = ()
    source: tuple[SourceSection, ...] = ()
    limit: tuple[LimitSection, ...] = ()
    scanner: tuple[ScannerSection, ...] = ()
    scan: ScanSection | None = None
    detect: DetectSection = DetectSection()


def bus_address(url: str) -> tuple[str, int]:
    """Host and port of a TCP bus, ("", 0) of a serial one. Raises ValueError with the way to write it."""
    parts = urlsplit(url)
    if parts.scheme == "rtu" and not parts.netloc and parts.path.startswith("/"):
        _check_options(url, known=("baud", "bits", "parity", "stop"))
        return "", 0
    if parts.scheme in {"tcp", "rtu+tcp"} and parts.hostname and not parts.path.strip("/"):
        _check_options(url, known=("baud",) if parts.scheme == "rtu+tcp" else ())
        return parts.hostname, parts.port or 502
    msg = f"not the address of a bus: {url!r}; write tcp://host:502, rtu+tcp://host:502 or rtu:///dev/ttyS0?baud=19200"
    raise ValueError(msg)


def _options(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


def _check_options(url: str, *, known: tuple[str, ...]) -> None:
    """Raises ValueError for an option that a bus does not have, or a setting that a line cannot have."""
    options = _options(url)
    if unknown := [key for key in options if key not in known]:
        there = ", ".join(known) or "none"
        msg = f"not an option of this kind of bus: {', '.join(unknown)}; there are: {there}"
        raise ValueError(msg)
    baud = options.get("baud", str(BAUD))
    if not baud.isdecimal() or int(baud) not in SERIAL_BAUDS:
        msg = f"not a speed of a serial bus: baud={baud}; write 9600, 19200, 115200"
        raise ValueError(msg)
    for key, allowed in (("parity", "NEOneo"), ("stop", "12"), ("bits", "8")):
        if key in options and (len(options[key]) != 1 or options[key] not in allowed):
            msg = f"not possible on a Modbus line: {key}={options[key]}; parity N, E, O; stop 1, 2; bits 8"
            raise ValueError(msg)


def serial_line(url: str) -> tuple[str, int]:
    """Device file and speed of a scanner's line, 8N1. Raises ValueError with the way to write it."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    baud = options.pop("baud", str(SCANNER_BAUD))
    if parts.scheme == "serial" and not parts.netloc and parts.path.startswith("/") and not options:
        if baud.isdecimal() and int(baud) in SCANNER_BAUDS:
            return parts.path, int(baud)
        msg = f"not a speed of a scanner: baud={baud}; there are {', '.join(map(str, SCANNER_BAUDS))}"
        raise ValueError(msg)
    msg = f"not a serial line: {url!r}; write serial:///dev/serial/by-id/X?baud=9600"
    raise ValueError(msg)


def listen_address(text: str) -> tuple[str, int]:
    """Host and port to listen at. Raises ValueError with the way to write it."""
    parts = urlsplit(f"//{text}")
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.hostname and port is not None and not parts.path and parts.username is None:
        return parts.hostname, port
    msg = f'not an address to listen at: {text!r}; write "127.0.0.1:8090"'
    raise ValueError(msg)


def _in_folder(value: Path, info: ValidationInfo) -> Path:
    """Relative paths are relative to the file."""
    folder = (info.context or {}).get("folder")
    return value if folder is None else Path(folder) / value
