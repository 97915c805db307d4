"""The walls bite: each contract of pyproject.toml is broken on purpose in a small copy of the house."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
ROOMS = {
    "deploy": [],
    "edge": ["app", "config", "drivers", "model", "sim"],
    "gateway": ["contract", "rules", "outbox", "link", "uplink"],
    "collector": ["app", "api", "store", "registry", "config", "judge", "identity"],
}
BREACHES = {
    "Packages: deploy, then edge and collector, then gateway": ("edge/app.py", "import collector.config"),
    "The collector sees only the contract, the rules and the link of the gateway": (
        "collector/store.py",
        "from gateway import outbox",
    ),
    "Rooms of the edge": ("edge/model.py", "import edge.drivers"),
    "The simulator is never imported at run time": ("edge/drivers.py", "import edge.sim"),
    "Rooms of the gateway": ("gateway/outbox.py", "import gateway.link"),
    "Rooms of the collector": ("collector/lost_room.py", ""),
    "Pure rooms import no clock, no chance, no file, no socket, no log": (
        "collector/judge.py",
        "import time",
    ),
}


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """Empty rooms under the project's own contracts."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package, rooms in ROOMS.items():
        for room in ["__init__", *rooms]:
            path = tmp_path / package / f"{room}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text("")
    return tmp_path


def _kept(house: Path) -> dict[str, bool]:
    """Contract → kept, as lint-imports prints it."""
    done = subprocess.run(
        [BIN / "lint-imports", "--no-logo", "--no-cache"],
        cwd=house,
        env={"PYTHONPATH": str(house), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    verdicts = re.findall(r"^(.+) (KEPT|BROKEN)", done.stdout, re.MULTILINE)
    assert verdicts, done.stdout + done.stderr
    return {name: verdict == "KEPT" for name, verdict in verdicts}


def test_empty_rooms_break_nothing(house: Path) -> None:
    assert _kept(house) == dict.fromkeys(BREACHES, True)


def test_every_contract_bites(house: Path) -> None:
    for path, line in BREACHES.values():
        (house / path).write_text(f"{line}\n")
    assert _kept(house) == dict.fromkeys(BREACHES, False)


@pytest.mark.parametrize(
    ("path", "banned"),
    [
        ("edge/model/x.py", 5),
        ("edge/detect/x.py", 5),
        ("gateway/contract/x.py", 5),
        ("gateway/rules/x.py", 5),
        ("gateway/uplink/session.py", 5),
        ("collector/identity/x.py", 5),
        ("collector/judge/x.py", 5),
        ("collector/alarms/x.py", 5),
        ("gateway/uplink/drain.py", 0),
        ("collector/store/x.py", 0),
    ],
)
def test_pure_rooms_are_given_time_chance_and_files(path: str, banned: int) -> None:
    source = (
        "import os\nimport pathlib\nfrom datetime import datetime\nimport numpy as np\n"
        "a = datetime.now()\nb = datetime.utcnow()\nc = np.random.default_rng()\n"
    )
    done = subprocess.run(
        [
            BIN / "ruff",
            "check",
            "--select",
            "TID251",
            "--output-format",
            "concise",
            "--stdin-filename",
            path,
            "-",
        ],
        cwd=ROOT,
        input=source,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.stdout.count("TID251") == banned, done.stdout + done.stderr
