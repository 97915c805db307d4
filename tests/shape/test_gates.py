"""The gates hold on this checkout, and each of them bites when it is broken."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.shape import gates

ROOT = Path(__file__).parents[2]


def _module(text: str, path: str = "gateway/outbox/x.py") -> gates.Module:
    return gates.Module(path, text.splitlines(), ast.parse(text))


def test_this_checkout_breaks_no_gate() -> None:
    assert gates.offences(gates.read(ROOT)) == []


def test_aims_are_printed_for_source_only() -> None:
    lines = gates.aims([_module('"""x."""\n'), _module('"""x."""\n' * 500, "tests/unit/test_x.py")])
    assert lines[-1] == "lines: 1 source, 500 tests"


@pytest.mark.parametrize(
    ("text", "path", "sentence"),
    [
        ("x = 1\n", "gateway/outbox/x.py", "no opening docstring"),
        ('"""x."""\n' * 501, "gateway/outbox/x.py", "501 lines"),
        ('"""x."""\ndef f():\n' + "    x = 1\n" * 70, "gateway/outbox/x.py", "f has 71 lines"),
        ('"""x."""\nimport time\ntime.sleep(1)\n', "deploy/x.py", "time.sleep"),
        ('"""x."""\nimport time as t\nt.sleep(1)\n', "tests/unit/x.py", "time.sleep"),
        ('"""x."""\nfrom time import sleep as wait\nwait(1)\n', "edge/app.py", "time.sleep"),
        ('"""x."""\nimport asyncio\nasyncio.sleep(1)\n', "collector/flow/x.py", "asyncio.sleep"),
        ('"""x."""\nfrom asyncio import sleep\nsleep(1)\n', "gateway/outbox/x.py", "asyncio.sleep"),
        ('"""x."""\ntry:\n    pass\nexcept Exception:\n    pass\n', "edge/app.py", "broad except without"),
        ('"""x."""\ntry:\n    pass\nexcept (ValueError, BaseException):\n    pass\n', "edge/app.py", "broad"),
        (
            '"""x."""\ntry:\n    pass\nexcept:  # noqa: E722\n    pass\n',
            "edge/app.py",
            "broad except without",
        ),
    ],
)
def test_a_gate_bites(text: str, path: str, sentence: str) -> None:
    [offence] = gates.offences([_module(text, path)])
    assert sentence in offence


@pytest.mark.parametrize(
    "text",
    [
        '"""x."""\ntry:\n    pass\nexcept Exception:  # any failure ends the sink\n    pass\n',
        '"""x."""\ntry:\n    pass\n# the task ends here\nexcept Exception:\n    pass\n',
        '"""x."""\ntry:\n    pass\nexcept Exception:\n    # the task ends here\n    pass\n',
        '"""x."""\nimport asyncio\nasyncio.sleep(1)\n',
    ],
)
def test_what_is_allowed_passes(text: str) -> None:
    assert gates.offences([_module(text, "edge/drivers/x.py")]) == []


def test_broad_excepts_are_rationed() -> None:
    one = '"""x."""\ntry:\n    pass\nexcept Exception:  # reason\n    pass\n'
    [offence] = gates.offences([_module(one + "x = 1\n" * 400), _module(one)])
    assert offence.startswith("2 broad excepts, at most 1")


def test_a_folder_holds_twelve_modules_and_tests_may_hold_more() -> None:
    source = [_module('"""x."""\n', f"edge/model/m{i}.py") for i in range(13)]
    [offence] = gates.offences(source)
    assert offence == "edge/model: 13 modules, at most 12"
    assert gates.offences([_module('"""x."""\n', f"tests/unit/m{i}.py") for i in range(13)]) == []
