"""The last figures in docs/benchmarks.md: between its two marks, with date, cores and versions.

Owns that part of the page and nothing of how figures come about. A machine's name never gets there.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from deploy.answers import CommandError
from deploy.bench.store import AIMS

BEGIN: Final = "<!-- figures -->"
END: Final = "<!-- end of figures -->"


def write(page: Path, document: dict[str, Any]) -> None:
    """Replace what stands between the marks. CommandError for a page without them."""
    text = page.read_text(encoding="utf-8")
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise CommandError(f"{page} has no place for figures", hint=f"put {BEGIN} and {END} into it")
    page.write_text(f"{head}{BEGIN}\n{_figures(document)}\n{END}{tail}", encoding="utf-8")


def _figures(document: dict[str, Any]) -> str:
    lines = [_made_on(document), "", "| figure | found | aim |", "|---|---|---|"]
    for name, aim in AIMS.items():
        value = document.get(name)
        lines.append(f"| `{name}` | {'not measured' if value is None else f'{value:,}'} | {aim} |")
    return "\n".join([*lines, "", *_peers(document["peers"]), _bounds(document["sustained"])])


def _made_on(document: dict[str, Any]) -> str:
    found = document["environment"]
    parts = [f"{name} {version}" for name, version in found["versions"].items()]
    parts += [f"{name} {one['version']}" for name, one in document["peers"].items()]
    return (
        f"{dt.datetime.now(dt.UTC):%Y-%m-%d}, {found['cores']} cores ({found['processor']}),"
        f" commit {found['commit']}; Python {found['python']}, {', '.join(parts)}."
    )


def _peers(peers: dict[str, Any]) -> list[str]:
    if not peers:
        return []
    heads = (
        "peer",
        "readings/s",
        "best way",
        "readings a CPU second",
        "a line a slot, readings/s",
        "bytes a reading",
    )
    lines = [_row(heads), _row(["---"] * len(heads))]
    for name, one in peers.items():
        way = one["sustained"]
        cells = (
            name,
            f"{one['readings_per_s']:,}",
            f"{way['batch']:,} lines{', gzip' if way['gzip'] else ''}",
            f"{way['readings_per_cpu_s']:,}",
            f"{one['slot_layout']['readings_per_s']:,}",
            one["bytes_per_reading"],
        )
        lines.append(_row(cells))
    return [*lines, ""]


def _row(cells: Iterable[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _bounds(flow: dict[str, Any]) -> str:
    used = ", ".join(f"{name} {seconds} s" for name, seconds in flow["cpu_s"].items())
    return (
        f"Sustained over {flow['seconds']} s: {flow['receipted_per_s']:,} receipted and"
        f" {flow['queryable_per_s']:,} queryable a second; {flow['cores_used']} of {flow['cores']} cores"
        f" used ({used})."
    )
