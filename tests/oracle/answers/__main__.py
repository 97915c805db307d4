"""`python -m tests.oracle.answers`: answers at 50 positions of a busy journal, asked again afterwards.

In between everything derived is made anew, and a new process begins. Prints one JSON document; exit 1
when an answer is not the same byte for byte.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path

import structlog

from tests.oracle.answers.recorded import Recording, asked_again, run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--positions", type=int, default=50)
    parser.add_argument("--acts", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dir", type=Path, help="keep everything here")
    parser.add_argument(
        "--again", nargs=3, type=Path, metavar=("DATA", "RECORDED", "OUT"), help="the second process"
    )
    given = parser.parse_args()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    if given.again:
        data, recorded, out = given.again
        first = Recording(json.loads(recorded.read_text(encoding="utf-8")))
        out.write_text(json.dumps(asyncio.run(asked_again(data, first)).answers), encoding="utf-8")
        return 0
    with tempfile.TemporaryDirectory() as made:
        folder = given.dir or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        found = asyncio.run(run(folder, acts=given.acts, positions=given.positions, seed=given.seed))
    print(json.dumps(found, indent=1))
    return 1 if found["differing"] else 0


if __name__ == "__main__":
    sys.exit(main())
