"""Which check stands for which assertion of the specification, by its id.

Owns the table id → check. A check is given the story and fails by an assertion.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

from tests.sparkplug.story import Message, Story

Check: TypeAlias = Callable[[Story], None]
CHECKS: Final[dict[str, Check]] = {}
IDS_FILE: Final = Path(__file__).with_name("ids.txt")
"""Every id of the specification 3.0.0 (tag v3.0.0), without its prefix `tck-id-`, one a line."""


def all_ids() -> list[str]:
    """The 299 of the specification."""
    return IDS_FILE.read_text(encoding="ascii").split()


def asserts(*ids: str) -> Callable[[Check], Check]:
    """This check stands for these ids: where the specification says a thing twice, it has two."""

    def register(check: Check) -> Check:
        for one in ids:
            assert one not in CHECKS, f"{one} has two checks"
            CHECKS[one] = check
        return check

    return register


def each(*ids: str, of: tuple[str, ...]) -> Callable[[Callable[[Message], bool]], Callable[[Message], bool]]:
    """As `asserts`, for something that holds for every message of these kinds that our nodes say."""

    def register(holds: Callable[[Message], bool]) -> Callable[[Message], bool]:
        def check(story: Story) -> None:
            for kind in of:
                for message in story.said(kind):
                    assert holds(message), f"{message.packet.topic} at {message.number}: {holds.__name__}"

        asserts(*ids)(check)
        return holds

    return register
