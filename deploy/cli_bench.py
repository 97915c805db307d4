"""Body of `telomere bench`: which measurement runs, and in which form its figures are printed."""

from __future__ import annotations

import asyncio
import json as json_module
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from deploy.answers import CommandError, Exit

NAMES: Final = {
    "store": "what the store sustains, takes and answers, with InfluxDB and VictoriaMetrics in the same run",
}


def names(*, json: bool) -> int:
    """What can be measured."""
    if json:
        print(json_module.dumps(NAMES))
    else:
        for name, what in NAMES.items():
            print(f"{name:<8} {what}")
    return Exit.FINE


def run(
    name: str,
    *,
    seconds: float | None,
    readings: int | None,
    outboxes: int | None,
    quick: bool,
    peers: bool,
    folder: Path | None,
    docs: Path | None,
    json: bool,
) -> int:
    """One measurement in a folder of its own, removed in the end."""
    if name not in NAMES:
        raise CommandError(f"no measurement is called {name!r}", hint=f"there are: {', '.join(NAMES)}")
    given: dict[str, Any] = {"seconds": seconds, "readings": readings, "outboxes": outboxes}
    chosen = {key: value for key, value in given.items() if value is not None}
    with tempfile.TemporaryDirectory(prefix="telomere-bench-", dir=folder) as made:
        document = asyncio.run(_store(Path(made), chosen, quick=quick, peers=peers))
    if docs is not None:
        from deploy.bench import page

        page.write(docs, document)
    print(json_module.dumps(document, indent=1) if json else _text(document))
    return Exit.FINE


async def _store(folder: Path, chosen: dict[str, Any], *, quick: bool, peers: bool) -> dict[str, Any]:
    from deploy.bench import store

    options = store.Options.quick() if quick else store.Options(peers=peers)
    return await store.measure(folder, replace(options, **chosen))


def _text(document: dict[str, Any]) -> str:
    from deploy.bench import store

    return store.table(document)
