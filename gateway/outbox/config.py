"""The `[outbox]` section of edge.toml.

Owns its limits and `ByteCount`, the size type ("16kB", "4MiB", "2GiB") that `[uplink]` shares. Must
not know where the file lives: that is the gateway's `data_dir`.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ByteSize, ConfigDict, Field

BYTES_MAX_DEFAULT: Final = ByteSize(2 * 1024**3)
"""2 GiB: about three months of 30 readings a second at some 10 bytes each on the wire."""


def _not_bool(value: object) -> object:
    """`true` would be taken for one byte."""
    if isinstance(value, bool):
        msg = 'a size such as "16kB", "4MiB" or a number of bytes is expected'
        raise ValueError(msg)  # noqa: TRY004 (pydantic reports ValueError only)
    return value


ByteCount = Annotated[ByteSize, BeforeValidator(_not_bool), Field(gt=0)]
"""Bytes above 0: a number, or text with kB, MB, GB (powers of 1000) or KiB, MiB, GiB (of 1024)."""


class OutboxConfig(BaseModel):
    """Limits of the store. `age_days_max` counts from the append, not from the reading's time."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bytes_max: ByteCount = BYTES_MAX_DEFAULT
    age_days_max: float = Field(default=90, gt=0)
    keep_receipted_days: float = Field(default=7, ge=0)
