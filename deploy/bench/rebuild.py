"""How fast everything derived is made anew, from ledger and archive files, and whether it is equal.

    python -m deploy.bench.rebuild --readings 10000000 [--archived 0.9] [--dir D]

Fills a ledger with real payloads, archives a share of it, makes everything derived twice, compares the
second with the first, and prints one JSON document. Blocking; needs some 25 bytes of disk a reading. Must
not know how a rebuild works.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from collector.flow.rebuild import rebuild
from collector.store.archive.build import Order, build
from collector.store.ledger import LEDGER_NAME, Draft, Ledger
from deploy.bench import filled
from deploy.cli_store import Progress

GATEWAYS: Final = 8
POINTS: Final = 50
FILE_ENTRIES: Final = 65_536
SLOTS_S: Final = 600
"""Each gateway in turn sends this much: their segments are mixed, as they come."""


def fill(ledger: Ledger, readings: int) -> int:
    """Commit so many readings of eight gateways with fifty points at 1 Hz each; how many there are."""
    gateways = [filled.Gateway(f"gw-{n}", POINTS, epoch=f"{n + 1:016x}") for n in range(GATEWAYS)]
    for one in gateways:
        ledger.commit(one.births())
    filled.commit(ledger, _turns(gateways, readings))
    return sum(one.made for one in gateways)


def _turns(gateways: list[filled.Gateway], readings: int) -> Iterator[Draft]:
    from_ms = 1_790_000_000_000
    while sum(one.made for one in gateways) < readings:
        for one in gateways:
            yield from one.segments(from_ms=from_ms, seconds=SLOTS_S)
        from_ms += SLOTS_S * 1000


def archive(ledger: Ledger, path: Path, *, upto: int) -> dict[str, Any]:
    """Entries up to `upto` into archive files, as the collector does it, all at once."""
    began = time.monotonic()
    while (first := _archived(ledger) + 1) <= upto:
        files = ledger.archived()
        order = Order(
            ledger_id=ledger.id,
            first=first,
            last=min(upto, first + FILE_ENTRIES - 1),
            previous=files[-1].sha256 if files else "",
        )
        ledger.seal(build(path, ledger.archive.folder, order))
    built_s = time.monotonic() - began
    while ledger.release():
        pass
    released_s = time.monotonic() - began - built_s
    while ledger.give_back():
        pass
    files = ledger.archived()
    return {
        "files": len(files),
        "payload_bytes": sum(one.payload_bytes for one in files),
        "bytes": sum(one.bytes for one in files),
        "build_s": round(built_s, 2),
        "release_s": round(released_s, 2),
    }


def _archived(ledger: Ledger) -> int:
    files = ledger.archived()
    return files[-1].last if files else 0


def measure(folder: Path, *, readings: int, archived: float) -> dict[str, Any]:
    """The whole drill in an empty folder."""
    path = folder / LEDGER_NAME
    ledger = Ledger.open(path, now_ns=time.time_ns)
    made = fill(ledger, readings)
    ledger_bytes = ledger.file_bytes()
    share = archive(ledger, path, upto=round(ledger.last_id() * archived)) if archived else None
    ledger.close()
    rebuild(folder, registry_url="sqlite:", now_ns=time.time_ns, progress=Progress().show)
    done = rebuild(folder, registry_url="sqlite:", now_ns=time.time_ns, progress=Progress().show)
    document = done.document()
    held = made * (share["payload_bytes"] / ledger_bytes if share else 0)
    return {
        "readings": made,
        "ledger_bytes_per_reading": round(ledger_bytes / made, 2),
        "ledger_bytes_per_reading_left": round(path.stat().st_size / made, 2),
        "archive_bytes_per_reading": round(share["bytes"] / held, 2) if share else None,
        "archive_readings_per_s": round(held / share["build_s"]) if share else None,
        "rebuild_readings_per_s": done.readings_per_s,
        "rebuild_s": document["seconds"],
        "rebuild_compare_s": document["compare_seconds"],
        "rebuild_equal": document["equal"] and done.readings == made,
        "archive": share,
        "rebuild": document,
    }


def main() -> int:
    """The command line; 1 when the rebuild is not equal."""
    parser = argparse.ArgumentParser(prog="python -m deploy.bench.rebuild", description=__doc__)
    parser.add_argument("--readings", type=int, default=5_000_000)
    parser.add_argument("--archived", type=float, default=0.0, help="share of the entries in archive files")
    parser.add_argument("--dir", type=Path, default=None, help="where the files grow")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="telomere-rebuild-", dir=asked.dir) as made:
        document = measure(Path(made), readings=asked.readings, archived=asked.archived)
    json.dump(document, sys.stdout, indent=1)
    print()
    return 0 if document["rebuild_equal"] else 1


if __name__ == "__main__":
    sys.exit(main())
