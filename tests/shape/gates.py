"""The gates of style: sizes, broad excepts, sleeps, opening docstrings. `make check` runs this file.

Owns the numbers and how they are counted, over the source packages and the tests. Reads source text
only and imports nothing of the project, so that a broken module is still measured.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PACKAGES: Final = ("edge", "gateway", "collector", "deploy")
FUNCTION_LINES_MAX: Final = 70
FILE_LINES_MAX: Final = 500
FOLDER_MODULES_MAX: Final = 12
LINES_PER_BROAD_EXCEPT: Final = 1000
FUNCTION_LINES_AIM: Final = 40
FUNCTION_SHARE_AIM: Final = 0.95
FILE_LINES_AIM: Final = 400
FOLDER_MODULES_AIM: Final = 8
SLEEPERS: Final = re.compile(
    r"(edge|collector)/app\.py|edge/drivers/.*|gateway/(link|uplink)/.*|collector/ingest/.*|deploy/.*"
)
"""The rooms that may wait on the clock; the pure session inside uplink is barred by its own contract."""
BROAD: Final = {"Exception", "BaseException"}


@dataclass(frozen=True, slots=True)
class Module:
    """One source file: its path as shown, its lines and its tree."""

    path: str
    lines: Sequence[str]
    tree: ast.Module

    @property
    def is_test(self) -> bool:
        return self.path.startswith("tests/")

    @property
    def folder(self) -> str:
        return self.path.rpartition("/")[0]

    def functions(self) -> Iterator[tuple[str, int, int]]:
        """Name, first line and length of every function; a nested one counts in its parent too."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node.name, node.lineno, (node.end_lineno or node.lineno) - node.lineno + 1


def read(root: Path, packages: Sequence[str] = (*PACKAGES, "tests")) -> list[Module]:
    """Every Python file below these folders of `root`."""
    paths = sorted(path for package in packages for path in (root / package).rglob("*.py"))
    texts = [(path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")) for path in paths]
    return [Module(name, text.splitlines(), ast.parse(text, name)) for name, text in texts]


def offences(modules: Sequence[Module]) -> list[str]:
    """Everything that breaks a gate, as `path:line: sentence`."""
    return [
        *(line for module in modules for line in _of_module(module)),
        *_folders(modules),
        *_share_of_broad(modules),
    ]


def aims(modules: Sequence[Module]) -> list[str]:
    """How far the source (without tests) is from the aims; never a failure."""
    source = [module for module in modules if not module.is_test]
    lengths = [length for module in source for _, _, length in module.functions()]
    share = sum(length < FUNCTION_LINES_AIM for length in lengths) / max(1, len(lengths))
    long = [
        f"{module.path} ({len(module.lines)})" for module in source if len(module.lines) >= FILE_LINES_AIM
    ]
    full = [f"{name} ({n})" for name, n in _modules_in(source).items() if n > FOLDER_MODULES_AIM]
    tests = sum(len(module.lines) for module in modules if module.is_test)
    return [
        f"functions under {FUNCTION_LINES_AIM} lines: {share:.1%} (aim {FUNCTION_SHARE_AIM:.0%})",
        f"files of {FILE_LINES_AIM} lines and more: {', '.join(long) or 'none'} (aim none)",
        f"folders over {FOLDER_MODULES_AIM} modules: {', '.join(full) or 'none'} (aim none)",
        f"lines: {sum(len(module.lines) for module in source)} source, {tests} tests",
    ]


def _of_module(module: Module) -> Iterator[str]:
    if len(module.lines) > FILE_LINES_MAX:
        yield f"{module.path}:1: {len(module.lines)} lines, at most {FILE_LINES_MAX}"
    if _wants_docstring(module) and ast.get_docstring(module.tree) is None:
        yield f"{module.path}:1: no opening docstring: what does it own, what must it not know?"
    for name, line, length in module.functions():
        if length > FUNCTION_LINES_MAX:
            yield f"{module.path}:{line}: {name} has {length} lines, at most {FUNCTION_LINES_MAX}"
    yield from _sleeps(module)
    for line, reason in _broad_excepts(module):
        if not reason:
            yield f"{module.path}:{line}: broad except without its reason in a comment beside it"


def _wants_docstring(module: Module) -> bool:
    return not (module.is_test and module.path.endswith("__init__.py"))


def _sleeps(module: Module) -> Iterator[str]:
    """Calls and imports of a sleep, under whatever name the module was imported."""
    names = _imported(module.tree)
    for node in ast.walk(module.tree):
        target = _sleep_called(node, names)
        if target == "time.sleep":
            yield f"{module.path}:{node.lineno}: time.sleep: wait for an event with a deadline"  # type: ignore[attr-defined]
        if target == "asyncio.sleep" and not module.is_test and not SLEEPERS.fullmatch(module.path):
            yield f"{module.path}:{node.lineno}: asyncio.sleep in a room that is given its time"  # type: ignore[attr-defined]


def _imported(tree: ast.Module) -> dict[str, str]:
    """Local name → full name, for `import a as b` and `from a import b as c`."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _sleep_called(node: ast.AST, names: dict[str, str]) -> str:
    """The full name of the sleep that this node refers to, or ""."""
    if isinstance(node, ast.Attribute) and node.attr == "sleep" and isinstance(node.value, ast.Name):
        return f"{names.get(node.value.id, node.value.id)}.sleep"
    if isinstance(node, ast.Name) and names.get(node.id, "").endswith(".sleep"):
        return names[node.id]
    return ""


def _broad_excepts(module: Module) -> Iterator[tuple[int, str]]:
    """Line and reason ("" without one) of every handler that catches everything."""
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.ExceptHandler) or not _is_broad(node.type):
            continue
        here, above = module.lines[node.lineno - 1], module.lines[node.lineno - 2].strip()
        below = module.lines[node.lineno].strip() if node.lineno < len(module.lines) else ""
        beside = re.sub(r"(noqa|pragma)(: *\S+)*", "", here.partition("#")[2]).strip(" :#")
        comments = [beside, *(line for line in (above, below) if line.startswith("#"))]
        yield node.lineno, next((comment for comment in comments if comment), "")


def _is_broad(kind: ast.expr | None) -> bool:
    if kind is None:
        return True
    members = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    return any(isinstance(member, ast.Name) and member.id in BROAD for member in members)


def _share_of_broad(modules: Sequence[Module]) -> Iterator[str]:
    source = [module for module in modules if not module.is_test]
    broad = sum(1 for module in source for _ in _broad_excepts(module))
    allowed = max(1, sum(len(module.lines) for module in source) // LINES_PER_BROAD_EXCEPT)
    if broad > allowed:
        yield f"{broad} broad excepts, at most {allowed} (one per {LINES_PER_BROAD_EXCEPT} lines of source)"


def _folders(modules: Sequence[Module]) -> Iterator[str]:
    """Test folders are sorted by kind, not by room: they may hold more."""
    for folder, count in _modules_in([module for module in modules if not module.is_test]).items():
        if count > FOLDER_MODULES_MAX:
            yield f"{folder}: {count} modules, at most {FOLDER_MODULES_MAX}"


def _modules_in(modules: Sequence[Module]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for module in modules:
        if not module.path.endswith("__init__.py"):
            counts[module.folder] = counts.get(module.folder, 0) + 1
    return counts


def main() -> int:
    """Prints aims and offences of the checkout that this file lies in; 1 when a gate is broken."""
    modules = read(Path(__file__).parents[2])
    found = offences(modules)
    print("\n".join([*aims(modules), *found, f"gates: {len(found) or 'none'} broken"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
