"""Bodies of `telomere edge …`: what the commands do once the command line has been read."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from deploy.answers import not_built


def check(config: Path, *, json: bool) -> int:
    not_built("telomere edge check")


def run(config: Path) -> int:
    not_built("telomere edge run")


def event(
    config: Path,
    *,
    kind: str,
    act: str | None,
    batch: str,
    equipment: str,
    effective: dt.datetime | None,
    actor: str,
    note: str,
    json: bool,
) -> int:
    """Appends one scan or note, made now; `effective` is aware UTC when it truly happened earlier."""
    not_built("telomere edge event")


def outbox(config: Path, *, json: bool) -> int:
    not_built("telomere edge outbox")
