"""The `[uplink]` section of edge.toml.

Owns its keys, defaults and limits. The batching keys (`flush_interval_ms`, `segment_*`) are read by
the agent that fills the outbox; they stand here because they shape what travels. Must not know the
rest of the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ByteSize, ConfigDict, Field, model_validator

from gateway.contract.topics import check_id
from gateway.link.broker import Broker, checked_url
from gateway.outbox.config import ByteCount


def _host(text: str) -> str:
    return check_id(text) if text else text


Host = Annotated[str, AfterValidator(_host)]


class UplinkConfig(BaseModel):
    """Where to send, whom to believe, how much at a time. Paths are resolved by whoever loads the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    broker: Annotated[str, AfterValidator(checked_url)] = "mqtt://127.0.0.1:1883"
    username: str = ""
    password_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    primary_host: Host = ""
    receipt_host: Host = "telomere"
    receipts: Literal["required", "optional"] = "required"
    grace_days: float = Field(default=7, ge=0)
    aliases: bool = True
    flush_interval_ms: int = Field(default=1000, ge=10, le=60_000)
    segment_readings_max: int = Field(default=500, ge=1, le=10_000)
    segment_bytes_max: ByteCount = ByteSize(16_000)
    window_bytes_max: ByteCount = ByteSize(4 << 20)
    backlog_readings_per_s_max: int = Field(default=50_000, ge=1)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        self.endpoint()
        if self.receipts == "required" and not self.receipt_host:
            msg = 'receipts = "required" needs a receipt_host; or set receipts = "optional"'
            raise ValueError(msg)
        if self.window_bytes_max < 4 * self.segment_bytes_max:
            msg = "window_bytes_max must hold at least four segments of segment_bytes_max"
            raise ValueError(msg)
        return self

    def endpoint(self) -> Broker:
        """The broker as a `Link` takes it. Raises ValueError."""
        return Broker.parse(
            self.broker,
            username=self.username,
            password_file=self.password_file or "",
            ca_file=self.ca_file or "",
            cert_file=self.cert_file or "",
            key_file=self.key_file or "",
        )
