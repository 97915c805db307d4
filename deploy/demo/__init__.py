"""The body of `telomere demo`: a whole site on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deploy.answers import not_built


def run(
    *,
    folder: Path | None,
    http: str,
    history_s: float,
    replay: Sequence[str],
    exit_after_s: float | None,
    report: Path | None,
    json: bool,
) -> int:
    not_built("telomere demo")
