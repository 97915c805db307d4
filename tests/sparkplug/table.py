"""The assertion table: `python -m tests.sparkplug.table` runs every check and prints how each id stands.

Owns the counting and the print. Exit 1 when an assertion failed or has neither check nor reason.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from tests.sparkplug import checks_host, checks_messages, checks_session
from tests.sparkplug.inapplicable import INAPPLICABLE, NOT_FOLLOWED
from tests.sparkplug.registry import CHECKS, all_ids
from tests.sparkplug.script import record

MODULES = (checks_host, checks_messages, checks_session)
"""Imported for the checks that they register."""


def main() -> int:
    """Record, check, print."""
    with tempfile.TemporaryDirectory(prefix="sparkplug-") as folder:
        story = asyncio.run(record(Path(folder)))
    passed: list[str] = []
    failed: dict[str, str] = {}
    for one in all_ids():
        check = CHECKS.get(one)
        if check is None:
            if one not in INAPPLICABLE and one not in NOT_FOLLOWED:
                failed[one] = "neither checked nor excused"
            continue
        try:
            check(story)
        except Exception as error:  # whatever a check raises is that assertion's failure, told in the table
            failed[one] = f"{type(error).__name__}: {error}"
        else:
            passed.append(one)
    _print(passed, failed)
    return 1 if failed else 0


def _print(passed: list[str], failed: dict[str, str]) -> None:
    print("passed")
    for one in passed:
        print(f"  {one}")
    for title, table in (
        ("not applicable", INAPPLICABLE),
        ("recommended, not followed", NOT_FOLLOWED),
        ("failed", failed),
    ):
        print(title)
        for one, reason in table.items():
            print(f"  {one}: {reason}")
    print(
        f"Sparkplug B 3.0.0: {len(passed)} passed, {len(INAPPLICABLE)} not applicable,"
        f" {len(NOT_FOLLOWED)} recommended and not followed, {len(failed)} failed,"
        f" {len(all_ids())} in all"
    )


if __name__ == "__main__":
    sys.exit(main())
