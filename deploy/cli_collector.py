"""Bodies of `telomere collector …`: what the commands do once the command line has been read."""

from __future__ import annotations

from pathlib import Path

from deploy.answers import not_built


def check(config: Path, *, json: bool) -> int:
    not_built("telomere collector check")


def run(config: Path) -> int:
    not_built("telomere collector run")
