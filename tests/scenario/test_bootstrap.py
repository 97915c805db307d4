"""The bootstrap on machines that lack one thing after another: programs on PATH note their calls."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy" / "bootstrap.sh"
TOOLS = ("sh", "dirname", "mkdir", "ln", "cat", "chmod", "touch")
UV = '#!/bin/sh\necho "uv $*" >> "$CALLS"\n'

Bootstrap = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def bootstrap(tmp_path: Path) -> Bootstrap:
    """Runs the script in a folder of its own with nothing on PATH but these programs: code, calls, stderr."""

    def run(*words: str, **programs: str) -> tuple[int, list[str], str]:
        path = tmp_path / "bin"
        path.mkdir()
        for tool in TOOLS:
            (path / tool).symlink_to(str(shutil.which(tool)))
        for name, body in ({"id": "echo 1000"} | programs).items():
            program = path / name.replace("_", "-")
            program.write_text(f'#!/bin/sh\necho "{name.replace("_", "-")} $*" >> "$CALLS"\n{body}\n')
            program.chmod(0o755)
        (tmp_path / "deploy").mkdir()
        shutil.copy(SCRIPT, tmp_path / "deploy")
        calls = tmp_path / "calls"
        calls.touch()
        environment: Mapping[str, str] = {"PATH": str(path), "CALLS": str(calls)}
        done = subprocess.run(
            [tmp_path / "deploy" / "bootstrap.sh", *words],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        skipped = ("id ", "uv --version")
        lines = [line for line in calls.read_text().splitlines() if not line.startswith(skipped)]
        return done.returncode, lines, done.stderr

    return run


def _python(*, pip: str, venv: str = "exit 1") -> str:
    """A python3 whose `-m pip` and `-m venv` run these lines."""
    return f'case "$2" in\npip) {pip};;\nvenv) {venv};;\nesac'


def _puts_uv(target: str) -> str:
    return f"mkdir -p {target}/bin; printf '%s' '{UV}' > {target}/bin/uv; chmod +x {target}/bin/uv"


def test_a_uv_on_path_is_used(bootstrap: Bootstrap) -> None:
    code, calls, _ = bootstrap("env", uv="")
    assert (code, calls) == (0, ["uv sync --frozen --all-extras"])


def test_pip_fetches_uv_into_the_checkout(bootstrap: Bootstrap, tmp_path: Path) -> None:
    code, calls, _ = bootstrap("env", python3=_python(pip=_puts_uv(f"{tmp_path}/.tools/uv")))
    assert (code, calls[-1]) == (0, "uv sync --frozen --all-extras")
    assert f"--target {tmp_path}/.tools/uv uv" in calls[-2]


def test_without_pip_a_venv_fetches_uv(bootstrap: Bootstrap, tmp_path: Path) -> None:
    venv = f"{tmp_path}/.tools/venv"
    inner = f"mkdir -p {venv}/bin; printf '#!/bin/sh\\ntrue' > {venv}/bin/pip; chmod +x {venv}/bin/pip"
    code, calls, _ = bootstrap("env", python3=_python(pip="exit 1", venv=f"{inner}; {_puts_uv(venv)}"))
    assert (code, calls[-1]) == (0, "uv sync --frozen --all-extras")


def test_without_pip_and_venv_apt_is_asked_as_root(bootstrap: Bootstrap, tmp_path: Path) -> None:
    pip = f"[ -e {tmp_path}/apt ] || exit 1; {_puts_uv(f'{tmp_path}/.tools/uv')}"
    code, calls, told = bootstrap(
        "env", python3=_python(pip=pip), apt_get=f"touch {tmp_path}/apt", sudo='"$@"'
    )
    assert (code, calls[-1]) == (0, "uv sync --frozen --all-extras")
    assert "sudo apt-get install -y -q --no-install-recommends python3-pip" in calls
    assert "sudo for:" in told


def test_nobody_asks_for_sudo_when_nothing_is_missing(bootstrap: Bootstrap) -> None:
    assert bootstrap("apt", "mosquitto", "chromium", mosquitto="", chromium="", sudo="", apt_get="")[:2] == (
        0,
        [],
    )


def test_only_what_is_missing_is_installed(bootstrap: Bootstrap) -> None:
    code, calls, _ = bootstrap("apt", "no-such-a", "no-such-b", no_such_a="", sudo='"$@"', apt_get="")
    assert (code, calls[0]) == (0, "sudo apt-get install -y -q --no-install-recommends no-such-b")


def test_without_sudo_the_command_to_run_is_told(bootstrap: Bootstrap) -> None:
    code, calls, told = bootstrap("apt", "no-such-b", apt_get="")
    assert (code, calls) == (2, [])
    assert "please run as root: apt-get install" in told
