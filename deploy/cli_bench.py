"""Body of `telomere bench`: which measurement runs, and in which form its figures are printed."""

from __future__ import annotations

import asyncio
import json as json_module
import tempfile
from dataclasses import Field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol, Self, TypeVar

from deploy.answers import CommandError, Exit

NAMES: Final = {
    "store": "what the store sustains, takes and answers, with InfluxDB and VictoriaMetrics in the same run",
    "commit": "readings received and receipted a second, the collector killed once half-way",
    "judge": "batches judged again after a change of rule, with DuckDB in the same run",
    "detect": "detectors against NAB, UCR, IndPenSim, SKAB, Tennessee Eastman, injected faults, and peers",
    "modbus": "requests a cycle, readings a second beside plain pymodbus, what an agent costs",
    "drain": "a great outbox drains: memory, lateness of live readings, rate",
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
    data: Path | None,
    docs: Path | None,
    json: bool,
) -> int:
    """One measurement in a folder of its own, removed in the end."""
    if name not in NAMES:
        raise CommandError(f"no measurement is called {name!r}", hint=f"there are: {', '.join(NAMES)}")
    given: dict[str, Any] = {"seconds": seconds, "readings": readings, "outboxes": outboxes, "data": data}
    if name in {"store", "judge", "detect"} and not peers:
        given["peers"] = False
    chosen = {key: value for key, value in given.items() if value is not None}
    with tempfile.TemporaryDirectory(prefix="telomere-bench-", dir=folder) as made:
        document = asyncio.run(_measure(name, Path(made), chosen, quick=quick))
    if docs is not None and name == "store":
        from deploy.bench import page

        page.write(docs, document)
    print(json_module.dumps(document, indent=1) if json else _text(document))
    return Exit.FINE if document.get("good", True) else Exit.FINDING


async def _measure(name: str, folder: Path, chosen: dict[str, Any], *, quick: bool) -> dict[str, Any]:
    from deploy.bench import commit, drain, store

    match name:
        case "judge":
            from deploy.bench.judge import measure as judge

            options_judge = _options(judge.Options, chosen, quick=quick)
            return await asyncio.to_thread(judge.measure, folder, options_judge)
        case "detect":
            from deploy.bench.detect import measure as detect

            options_detect = _options(detect.Options, chosen, quick=quick)
            return await asyncio.to_thread(detect.measure, options_detect)
        case "modbus":
            from deploy.bench.modbus import measure as modbus

            return await modbus.measure(folder, _options(modbus.Options, chosen, quick=quick))
        case "commit":
            options = _options(commit.Options, chosen, quick=quick)
            return await commit.Commit(folder, options).measure()
        case "drain":
            return await drain.measure(folder, _options(drain.Options, chosen, quick=quick))
        case _:
            return await store.measure(folder, _options(store.Options, chosen, quick=quick))


class _Options(Protocol):
    """What a measurement can be told: a dataclass with a small form."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @classmethod
    def quick(cls) -> Self: ...


Chosen = TypeVar("Chosen", bound=_Options)


def _options(kind: type[Chosen], chosen: dict[str, Any], *, quick: bool) -> Chosen:
    known = {field.name for field in fields(kind)}
    if unknown := set(chosen) - known:
        raise CommandError(f"this measurement has no option --{min(unknown)}")
    return replace(kind.quick() if quick else kind(), **chosen)


def _text(document: dict[str, Any]) -> str:
    from deploy.bench import store

    if "configuration" in document:
        from deploy.bench.detect import measure as detect

        return detect.table(document)
    if "aims" in document:
        return store.table(document)
    return "\n".join(
        f"{name:<36} {value}" for name, value in document.items() if not isinstance(value, dict | list)
    )
