"""collector.toml: its sections as frozen models, checked once and whole before anything is opened.

Owns names, defaults and limits of the collector's configuration. Secrets stay in files. Must not know
the parts that the values configure, nor connect to anything.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, cast
from urllib.parse import parse_qsl, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from collector.identity.times import ns_of
from gateway.contract.topics import check_id
from gateway.link.broker import Broker, checked_url
from gateway.link.faults import Fault, load_toml_model

ALL_GROUPS: Final = "#"
PORT_MAX: Final = 65_535
TRACEABLE_DAYS: Final = 30 * 365.25
"""Data that trace an advanced therapy product are kept so long (Regulation (EC) 1394/2007, Art. 15)."""


def _beside(path: Path, info: ValidationInfo) -> Path:
    """Relative paths are relative to the file they stand in."""
    context = cast("dict[str, Any]", info.context or {})
    folder: Path = context.get("folder", Path())
    return folder / path


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        msg = f"{name!r} is no time zone"
        raise ValueError(msg) from None
    return name


def _group(name: str) -> str:
    return name if name == ALL_GROUPS else check_id(name)


def _listen(text: str) -> str:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdigit() or int(port) > PORT_MAX:
        msg = f"{text!r} is not host:port"
        raise ValueError(msg)
    if host != "localhost":
        try:
            ipaddress.ip_address(host)
        except ValueError:
            msg = f"{host!r} is no IP address of this machine"
            raise ValueError(msg) from None
    return text


FilePath = Annotated[Path, AfterValidator(_beside)]


class Section(BaseModel):
    """Frozen; unknown keys are faults."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CollectorSection(Section):
    """[collector]"""

    data_dir: FilePath = Field(description='the folder of ledger and registry, e.g. "var/collector"')
    timezone: Annotated[str, AfterValidator(_zone)] = Field(
        "UTC", description='an IANA name such as "Europe/Zurich"; stored times are UTC all the same'
    )


class BrokerSection(Section):
    """[broker]"""

    url: Annotated[str, AfterValidator(checked_url)] = Field(
        "mqtt://127.0.0.1:1883", description="mqtt://host:1883 or mqtts://host:8883"
    )
    host_id: Annotated[str, AfterValidator(check_id)] = Field(
        "telomere",
        description="this collector's Sparkplug host id: the gateways' receipt_host",
        max_length=60,
    )
    groups: tuple[Annotated[str, AfterValidator(_group)], ...] = Field(
        (ALL_GROUPS,), min_length=1, description='Sparkplug groups to serve; ["#"] for every group'
    )
    reorder_timeout_ms: int = Field(
        2000,
        ge=1,
        le=600_000,
        description="how long a message with a later seq waits for the missing ones before a rebirth",
    )
    username: str = ""
    password_file: FilePath | None = None
    ca_file: FilePath | None = None
    cert_file: FilePath | None = None
    key_file: FilePath | None = None

    @model_validator(mode="after")
    def _usable(self) -> BrokerSection:
        self.broker()
        if any(character.isspace() for character in self.host_id):
            msg = f"host_id {self.host_id!r} holds a space: it is a word of every receipt"
            raise ValueError(msg)
        return self

    def broker(self) -> Broker:
        """Where the broker is. Raises ValueError when the address cannot be used."""
        return Broker.parse(
            self.url,
            username=self.username,
            password_file=self.password_file or "",
            ca_file=self.ca_file or "",
            cert_file=self.cert_file or "",
            key_file=self.key_file or "",
        )


class LedgerSection(Section):
    """[ledger]"""

    archive_after_days: float = Field(
        30,
        ge=0,
        le=36_500,
        description="age at which payloads move into compressed files in data_dir/archive; 0 for never",
    )
    keep_days: float = Field(
        0,
        ge=0,
        le=36_500,
        description="age at which readings are deleted from the archive; 0 keeps everything for ever",
    )

    @model_validator(mode="after")
    def _in_order(self) -> LedgerSection:
        if self.keep_days and not self.archive_after_days:
            msg = (
                f"keep_days = {self.keep_days:g} has no effect with archive_after_days = 0: only archive"
                " files lose readings; set archive_after_days, or keep_days = 0 to keep everything"
            )
            raise ValueError(msg)
        if self.keep_days and self.keep_days <= self.archive_after_days:
            msg = (
                f"keep_days = {self.keep_days:g} must be more than archive_after_days ="
                f" {self.archive_after_days:g}: readings are archived first and deleted later"
            )
            raise ValueError(msg)
        return self


class SinkKind(StrEnum):
    """What stands behind a sink's address, as its URL spells it."""

    INFLUXDB = "influxdb"
    VICTORIAMETRICS = "victoriametrics"
    PARQUET = "parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkAddress:
    """Where a sink is: `server` without credentials or query, or `folder` for files."""

    kind: SinkKind
    server: str = ""
    org: str = ""
    bucket: str = ""
    folder: Path = Path()

    @classmethod
    def parse(cls, text: str) -> SinkAddress:
        """Raises ValueError with what is wrong and how it is written."""
        if text.startswith(f"{SinkKind.PARQUET}:"):
            folder = text.partition(":")[2].removeprefix("//")
            if not folder:
                msg = f"{text!r} names no folder: write parquet:DIR"
                raise ValueError(msg)
            return cls(kind=SinkKind.PARQUET, folder=Path(folder))
        parts = urlsplit(text)
        kind, _, scheme = parts.scheme.partition("+")
        if kind not in {SinkKind.INFLUXDB, SinkKind.VICTORIAMETRICS} or scheme not in {"http", "https"}:
            msg = f"{text!r} is no sink that is known here"
            raise ValueError(msg)
        if "@" in parts.netloc or not parts.hostname:
            what = "names no host" if not parts.hostname else "holds a user or password: use token_file"
            msg = f"the sink's address {what}"
            raise ValueError(msg)
        _ = parts.port  # raises ValueError for one that is none
        asked = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        needed = {"org", "bucket"} if kind == SinkKind.INFLUXDB else set()
        if set(asked) != needed or not all(asked.values()):
            write = "?org=O&bucket=B" if needed else "no query"
            msg = f"{text!r} has the wrong query: {kind} takes {write}"
            raise ValueError(msg)
        server = f"{scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        return cls(
            kind=SinkKind(kind), server=server, org=asked.get("org", ""), bucket=asked.get("bucket", "")
        )


def _sink_url(text: str, info: ValidationInfo) -> str:
    address = SinkAddress.parse(text)
    return text if address.server else f"{address.kind}:{_beside(address.folder, info)}"


def _secret(path: Path, info: ValidationInfo) -> Path:
    """A file that is to hold a secret; looked into only when a whole file is checked."""
    path = _beside(path, info)
    if info.context is not None:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            msg = f"the file {path} cannot be read: {reason}"
            raise ValueError(msg) from None
        if len(text.split()) != 1:
            msg = f"the file {path} must hold one word, the token"
            raise ValueError(msg)
    return path


def _instant(text: object) -> int:
    """Nanoseconds of a TOML date-time or RFC 3339 text with offset."""
    try:
        moment = text if isinstance(text, datetime) else datetime.fromisoformat(str(text))
        if moment.tzinfo is None:
            msg = f"{text} has no offset"
            raise ValueError(msg)
        return ns_of(moment)
    except (ValueError, OverflowError) as error:
        msg = f"{str(text)!r} is no time with offset ({error})"
        raise ValueError(msg) from None


class SinkSection(Section):
    """[[sink]]: a store of somebody else's that gets a copy of every reading."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    url: Annotated[str, AfterValidator(_sink_url)] = Field(
        description="influxdb+http://host:8086?org=O&bucket=B, victoriametrics+http://host:8428, parquet:DIR"
    )
    name: str = Field(
        "",
        pattern=r"^[a-z0-9][a-z0-9._-]{0,59}$|^$",
        description="what it is called in /sinks and on /metrics: small letters, digits, . _ -",
    )
    token_file: Annotated[Path, AfterValidator(_secret)] | None = Field(
        None, description="a file with the token alone in it; for InfluxDB 1.8 it holds user:password"
    )
    ca_file: FilePath | None = Field(None, description="the authority of an https server's certificate, PEM")
    batch_tag: bool = Field(
        default=False,
        description="true writes the batch of each reading as a tag, and again when links change",
    )
    measurement: str = Field(
        "readings",
        pattern=r"^[A-Za-z][A-Za-z0-9_]{0,99}$",
        description='letters, digits and underscores, e.g. "readings"',
    )
    points: tuple[str, ...] = Field(
        ("*",),
        min_length=1,
        description='globs over group/node/device/name, e.g. ["zurich/*/BR-*/temperature"]',
    )
    from_ns: Annotated[int, BeforeValidator(_instant)] | None = Field(
        None,
        alias="from",
        description="readings before this time are not written, e.g. 2026-01-01T00:00:00Z; without it, all",
    )
    durable_lag_s: float = Field(
        15.0,
        ge=12,
        le=3600,
        description="VictoriaMetrics: how long an acknowledged write may be in its memory only; 12 or more",
    )
    readings_per_s_max: int = Field(
        200_000, ge=100, le=10_000_000, description="the pace of a back-fill, so that receiving goes first"
    )
    file_every_s: float = Field(
        600.0,
        ge=1,
        le=86_400,
        description="Parquet: how long readings wait before they get a file",
    )
    timeout_s: float = Field(10.0, gt=0, le=600, description="how long one request may take")

    @property
    def address(self) -> SinkAddress:
        """Where it is."""
        return SinkAddress.parse(self.url)

    @property
    def id(self) -> str:
        """Its name, or one made of its address: the same as long as the address is."""
        address = self.address
        where = address.bucket or address.folder.name
        host = urlsplit(address.server).netloc
        made = "-".join(part for part in (address.kind.value, host, where) if part)
        return self.name or re.sub(r"[^a-z0-9._-]+", "-", made.lower())[:60]

    @model_validator(mode="after")
    def _fits(self) -> SinkSection:
        if self.batch_tag and self.address.kind is SinkKind.PARQUET:
            msg = "batch_tag has no meaning for Parquet files: join them with /links"
            raise ValueError(msg)
        return self


def _registry_url(url: str) -> str:
    if url in ("sqlite:", "sqlite://") or url.startswith("sqlite:///"):
        return url
    problem = "is not built yet" if url.startswith("postgres") else "is no registry"
    raise ValueError(f'{url!r} {problem}; write "sqlite:"')


class RegistrySection(Section):
    """[registry]"""

    url: Annotated[str, AfterValidator(_registry_url)] = Field(
        "sqlite:", description='"sqlite:" keeps registry.db in data_dir'
    )


class HttpSection(Section):
    """[http]"""

    listen: Annotated[str, AfterValidator(_listen)] = Field(
        "127.0.0.1:8080", description='an address of this machine and a port, e.g. "127.0.0.1:8080"'
    )

    @property
    def host(self) -> str:
        """The address part."""
        return self.listen.rpartition(":")[0].removeprefix("[").removesuffix("]")

    @property
    def port(self) -> int:
        """The port part; 0 takes a free one."""
        return int(self.listen.rpartition(":")[2])


class NotifySection(Section):
    """[notify]: accepted, not built yet."""

    routes: tuple[str, ...] = ()


class CollectorConfig(Section):
    """The whole file."""

    collector: CollectorSection
    broker: BrokerSection = BrokerSection()
    ledger: LedgerSection = LedgerSection()
    sink: tuple[SinkSection, ...] = ()
    registry: RegistrySection = RegistrySection()
    http: HttpSection = HttpSection()
    notify: NotifySection = NotifySection()

    @field_validator("sink")
    @classmethod
    def _apart(cls, sinks: tuple[SinkSection, ...]) -> tuple[SinkSection, ...]:
        twice = sorted(name for name, n in Counter(sink.id for sink in sinks).items() if n > 1)
        if twice:
            msg = f"{len(twice)} sinks have one name: {', '.join(twice)}; give each a name = of its own"
            raise ValueError(msg)
        return sinks


@dataclass(frozen=True, slots=True)
class Loaded:
    """A usable configuration and what is worth a word about it."""

    config: CollectorConfig
    warnings: tuple[Fault, ...]


def load(path: Path) -> Loaded:
    """Raises ConfigError with every fault of the file."""
    config, warnings = load_toml_model(path, CollectorConfig)
    if 0 < config.ledger.keep_days < TRACEABLE_DAYS:
        warnings.append(
            Fault(
                str(path),
                "ledger.keep_days",
                f"deletes readings after {config.ledger.keep_days:g} days; the traceability of cell and gene"
                " therapies asks for 30 years",
                "leave keep_days out (0 keeps everything), or see that records are kept elsewhere",
            )
        )
    if config.notify.routes:
        warnings.append(_not_built(path, "notify.routes", "nobody is notified; look at the page"))
    return Loaded(config, tuple(warnings))


def _not_built(path: Path, key: str, hint: str) -> Fault:
    return Fault(str(path), key, "is not built yet and has no effect", hint)
