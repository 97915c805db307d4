"""SIGKILL at every step of letting readings go: what is not journalled is there, and it is gone on with."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from collector.flow.archiving import tidy
from collector.flow.keeping import retention as retaining
from collector.identity.rows import RowKind
from collector.registry.journal import Journal
from collector.store.chunks import drop as dropping
from collector.store.ledger import Ledger
from collector.store.ledger.removals import Thinned
from tests.retained import POINT, Site

STEPS = ("made", "journalled", "noted", "carried", "unlinked", "finished", "dropping", "dropped")


def kill_after(function: Callable[..., Any]) -> Callable[..., Any]:
    """As the function, and then nothing more."""

    def last(*args: Any, **kwargs: Any) -> Any:
        function(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    return last


def killed(step: str, site: Site) -> None:
    """Let the process end right after this step."""
    place: tuple[Any, str] = {
        "made": (Thinned, "parse"),
        "journalled": (Journal, "append"),
        "noted": (Ledger, "thin"),
        "carried": (Ledger, "carry"),
        "unlinked": (retaining, "sync_folder"),
        "finished": (Ledger, "finish_removal"),
        "dropping": (dropping, "_lessened"),
        "dropped": (type(site.sealer), "drop"),
    }[step]
    setattr(*place, kill_after(getattr(*place)))


async def let_go(site: Site) -> None:
    """As the collector does it: what an earlier life left first, then file by file, then the chunks."""
    retention = site.retention()
    retention.recover()
    tidy(site.ledger)
    while await retention.step(asyncio.Event()):
        pass
    while site.sealer.behind_removals:
        site.sealer.drop()


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site whose archive has readings that are too old."""
    folder = tmp_path_factory.mktemp("old")
    site = Site(folder)
    site.fill()
    (folder / "now").write_text(str(site.now_ns))
    site.close()
    return folder


def opened(folder: Path) -> Site:
    site = Site(folder)
    site.now_ns = int((folder / "now").read_text())
    return site


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("step", STEPS)
def test_a_kill_leaves_what_can_be_gone_on_with(step: str, old: Path, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    shutil.copytree(old, folder)
    command = [sys.executable, "-m", "tests.fault.test_retention_kill", str(folder), step]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    site = opened(folder)
    files = {path.name for path in site.ledger.archive.folder.iterdir()}
    rows = site.journal.rows(kinds=(RowKind.RETENTION,))
    assert all(one.name in files for one in site.ledger.archived()), "what the ledger names is there"
    if "L000000000001-000000000048.tla" not in files:
        assert rows[0].body["file"]["name"] == "L000000000001-000000000048.tla", "nothing goes unsaid"
    assert not [entry for entry in site.ledger.entries(after=0, limit=100) if entry.lost]
    asyncio.run(let_go(site))
    assert [one.gone for one in site.ledger.removals()] == [True, True]
    assert {path.name for path in site.ledger.archive.folder.iterdir()} == {
        one.name for one in site.ledger.archived()
    }
    left = site.sealed.read(POINT, from_ns=None, to_ns=None)
    assert (len(left.time_ns), site.readings.count()) == (81, 623)
    subjects = [row.subject for row in site.journal.rows(kinds=(RowKind.RETENTION,))]
    assert len(subjects) == len(set(subjects)) == 2, "each decision is told once"
    site.close()


def main() -> None:
    """Let readings go until the step that kills it."""
    site = opened(Path(sys.argv[1]))
    killed(sys.argv[2], site)
    asyncio.run(let_go(site))


if __name__ == "__main__":
    main()
