"""Documentation against the code: pages found, links whole, decisions numbered, names as in the code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import click
import pytest
import typer.main

from collector.api.app import NOT_BUILT
from collector.identity.exceptions.model import ExceptionKind
from deploy.cli import app

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"])
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> Iterator[tuple[str, str, click.Command]]:
    """Group (or nothing), name and command of every command."""
    root = typer.main.get_command(app)
    for name, command in getattr(root, "commands", {}).items():
        inner = getattr(command, "commands", None)
        if inner is None:
            yield "", name, command
        else:
            yield from ((name, one, found) for one, found in inner.items())


def is_later(command: click.Command) -> bool:
    return "not built yet" in (command.help or "").splitlines()[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_and_every_page_named_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    linked = [
        page.parent / target
        for target in re.findall(r"\]\(([^)#\s]+)", text)
        if not target.startswith(("http:", "https:"))
    ]
    named = [ROOT / name for name in re.findall(r"\b(?:docs|tests)/[\w/.-]+\.(?:md|py)\b", text)]
    assert [path for path in [*linked, *named] if not path.exists()] == []


def test_the_table_of_pages_lists_every_page() -> None:
    table = (DOCS / "README.md").read_text(encoding="utf-8")
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    wanted = {page for page in pages if page != "README.md" and not page.startswith("decisions/")}
    assert wanted - set(re.findall(r"\]\(([^)]+)\)", table)) == set()


def test_decisions_are_numbered_from_one_without_a_double() -> None:
    pages = sorted((DOCS / "decisions").glob("*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        assert page.read_text(encoding="utf-8").startswith(f"# {int(page.name[:4])}. ")


def test_the_page_on_identity_lists_every_exception_worst_first() -> None:
    text = (DOCS / "identity.md").read_text(encoding="utf-8")
    listed = text[text.index("## Exceptions, worst first") :]
    places = [listed.index(f"`{kind}`") for kind in ExceptionKind]
    assert all(before < after for before, after in pairwise(places))


def test_the_readme_names_every_command_and_what_is_not_built() -> None:
    for group, name, command in commands():
        spelled = f"{group} {name}".strip()
        if is_later(command):
            assert f"`{spelled}`" in README
            continue
        rows = re.findall(rf"`telomere {group or name}\b([^`]*)`", README)
        assert rows, spelled
        assert not group or any(re.search(rf"\b{name}\b", row) for row in rows), spelled
    said = README[README.index("are named but not built yet") - 200 :]
    for _, path in NOT_BUILT:
        assert f"`/{path.removeprefix('/batches/{rest:path}').split('/')[1]}`" in said
