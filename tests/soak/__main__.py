"""`python -m tests.soak --seconds 600 --seed 1`: a campaign of faults, judged against the truth.

Prints progress on stderr and the report as one JSON document on stdout. Exit 0: nothing unexplained,
nothing twice; 1: something was found, and the folder is kept.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from tests.soak.campaign import Campaign
from tests.soak.plan import KINDS


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where everything is kept; must be new")
    parser.add_argument("--only", default="", help=f"comma-separated kinds out of: {', '.join(KINDS)}")
    options = parser.parse_args()
    only = tuple(kind for kind in options.only.split(",") if kind)
    if unknown := set(only) - set(KINDS):
        parser.error(f"no such kinds: {', '.join(sorted(unknown))}")
    folder = options.folder or Path(tempfile.mkdtemp(prefix="telomere-soak-")) / "site"
    folder.mkdir(parents=True)
    campaign = Campaign(folder.absolute(), seconds=options.seconds, seed=options.seed, only=only)
    outcome = asyncio.run(campaign.run())
    report = {"good": outcome.is_good, "seed": options.seed, **asdict(outcome)}
    print(json.dumps(report, indent=1))
    figures = ("sampled", "committed", "repeated", "declared_lost", "unexplained", "twice", "taken_back")
    told = ", ".join(f"{name} {outcome.verdict.get(name, '?')}" for name in figures)
    for failure in outcome.failures:
        print(f"soak: {failure[:400]}", file=sys.stderr)
    print(f"soak: {'GOOD' if outcome.is_good else 'RED'}: {told}", file=sys.stderr)
    if outcome.is_good and options.folder is None:
        shutil.rmtree(folder.parent, ignore_errors=True)
    else:
        (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        print(f"soak: everything is kept in {folder}", file=sys.stderr)
    return 0 if outcome.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
