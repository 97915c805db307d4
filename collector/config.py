"""collector.toml: its sections as frozen models, checked once and whole before anything is opened.

Owns names, defaults and limits of the collector's configuration. Secrets stay in files. Must not know
the parts that the values configure, nor connect to anything.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, model_validator

from gateway.contract.topics import check_id
from gateway.link.broker import Broker, checked_url
from gateway.link.faults import Fault, load_toml_model

ALL_GROUPS: Final = "#"
PORT_MAX: Final = 65_535


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


class SinkSection(Section):
    """[[sink]]: accepted, not built yet."""

    url: str
    token_file: FilePath | None = None


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


@dataclass(frozen=True, slots=True)
class Loaded:
    """A usable configuration and what is worth a word about it."""

    config: CollectorConfig
    warnings: tuple[Fault, ...]


def load(path: Path) -> Loaded:
    """Raises ConfigError with every fault of the file."""
    config, warnings = load_toml_model(path, CollectorConfig)
    if config.sink:
        warnings.append(_not_built(path, "sink", "readings stay in the ledger and are served from it"))
    if config.notify.routes:
        warnings.append(_not_built(path, "notify.routes", "nobody is notified; look at the page"))
    return Loaded(config, tuple(warnings))


def _not_built(path: Path, key: str, hint: str) -> Fault:
    return Fault(str(path), key, "is not built yet and has no effect", hint)
