"""`telomere edge detect` and `telomere edge warmup`: detectors over a log, and their kernels made ready.

A log is answered strictly causally, one line a row, by the code that runs live. Must not know any
detector; what there is comes from the tables of `edge.detect`.
"""

from __future__ import annotations

import datetime as dt
import itertools
import json as jsonlib
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperCommand

from deploy.answers import CommandError, Exit

if TYPE_CHECKING:
    from edge.config.detection import DetectSection
    from edge.detect.bank import Bank
    from edge.detect.finding import Finding
    from edge.detect.port import Channel
    from edge.drivers.replay import Log, Row

ROWS_AT_ONCE: Final = 2_000
"""Rows of a log that are answered together: any number gives the same lines."""


class Listed(TyperCommand):
    """A command whose help names every detector; they are imported for that alone."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self.help = f"{self.help}\n\n{listing()}"
        super().format_help(ctx, formatter)


def listing() -> str:
    """Every detector, as the help of the command lists them."""
    from edge.config.detection import REQUESTABLE
    from edge.detect.cold import COLD
    from edge.detect.words import CHECKS

    lines = ["Without being asked for, on every point:"]
    lines += [f"{check.name}: {check.about}" for check in CHECKS]
    lines += ["Without being asked for, on points of their kind:"]
    lines += [f"{name}: {COLD.about[name]}" for name in COLD.makers]
    asked = [name for name in sorted(REQUESTABLE) if name not in COLD.makers]
    lines += ["On request (detect.request.NAME): " + (", ".join(asked) or "none")]
    return "\n\n".join(lines)


def register(edge: typer.Typer) -> None:
    """Add both commands to the group."""

    @edge.command("detect", cls=Listed)
    def detect(
        *,
        file: Annotated[str, typer.Argument(metavar="FILE[:time=COL,unit=s|ms|iso,…]")],
        config: Annotated[
            Path | None, typer.Option(help="An edge.toml, or one with a detect section alone.")
        ] = None,
        as_json: Annotated[bool, typer.Option("--json", help="One JSON line a row.")] = False,
    ) -> None:
        """Run the detectors over a log, strictly causally."""
        raise typer.Exit(run(file, config, json=as_json))

    @edge.command("warmup")
    def warmup(
        *, as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False
    ) -> None:
        """Compile the detectors' kernels and say how they will run: cached, uncached, or plain."""
        raise typer.Exit(warm(json=as_json))


def run(file: str, config: Path | None, *, json: bool) -> int:
    """Answers each row, and says 0 whatever was found. Exit 2 when the log cannot be read."""
    from edge.config.detection import bank_of
    from edge.drivers.replay import Log, ReplayError

    try:
        log = Log.parse(file)
        section, channels, node = _subject(log, config)
        bank = bank_of(section, channels, node=node)
        for row, score, findings in _answers(bank, log.rows(), len(channels), _count(log)):
            if json:
                said = [_document(one) for one in findings]
                print(jsonlib.dumps({"time": _time(row.time_ms), "score": round(score, 6), "findings": said}))
            else:
                for one in findings:
                    if not one.is_end:
                        print(f"{_time(row.time_ms)}  {one.detector}  {one.sentence}")
    except (ReplayError, ValueError) as error:
        raise CommandError(str(error), hint="telomere edge detect --help") from error
    return int(Exit.FINE)


def warm(*, json: bool) -> int:
    """Compile what a replay would; the answer never is a failure, for everything runs without numba."""
    import time

    from edge.detect.hot import compiled

    begun = time.perf_counter()
    made = compiled()
    told = {"mode": str(made.mode), "why": made.why, "seconds": round(time.perf_counter() - begun, 3)}
    if json:
        print(jsonlib.dumps(told))
    else:
        reason = f" ({made.why})" if made.why else ""
        print(f"kernels run {made.mode}{reason}; made ready in {told['seconds']} s")
    return int(Exit.FINE)


def _count(log: Log) -> int:
    return sum(1 for _ in log.rows())


def _subject(log: Log, config: Path | None) -> tuple[DetectSection, list[Channel], str]:
    """What is configured, the columns as channels, and the node's name.

    A column is a point of edge.toml by its full name (`device/name`), else `{file stem}/{column}`.
    """
    from edge.config import load
    from edge.config.detection import DetectOnly, DetectSection, faults
    from edge.detect.port import Channel
    from gateway.link.faults import load_toml_model

    section, known, node = DetectSection(), {}, "log"
    whole = False
    if config is not None:
        whole = "gateway" in _toml(config)
        if whole:
            loaded = load(config).config
            section, known = loaded.detect, {one.point: one for one in loaded.channels()}
            node = f"{loaded.gateway.group}/{loaded.gateway.node}"
        else:
            section = load_toml_model(config, DetectOnly)[0].detect
    channels = [
        known.get(name) or known.get(f"{log.stem}/{name}") or Channel(point=_point(log, name))
        for name in log.points
    ]
    if config is not None and not whole:
        wrong = [f"{key}: {problem}; {hint}" for key, problem, hint in faults(section, channels)]
        if wrong:
            raise CommandError("; ".join(wrong))
    return section, channels, node


def _point(log: Log, name: str) -> str:
    return name if "/" in name else f"{log.stem}/{name}"


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise CommandError(f"{path}: {error}") from error


def _answers(
    bank: Bank, rows: Iterator[Row], width: int, count: int
) -> Iterator[tuple[Row, float, Sequence[Finding]]]:
    """Each row with its score and what was found at it."""
    import numpy as np

    from edge.detect import kernel
    from edge.detect.bank import Batch

    while block := list(itertools.islice(rows, ROWS_AT_ONCE)):
        value = np.array(
            [[np.nan if v is None else v for v in row.values.values()] for row in block], np.float64
        )
        batch = Batch(
            channel=np.tile(np.arange(width), len(block)),
            time_ms=np.repeat(np.array([row.time_ms for row in block], np.int64), width),
            value=value.reshape(-1),
            kind=np.where(np.isfinite(value.reshape(-1)), kernel.GOOD, kernel.BAD).astype(np.uint8),
        )
        answer = bank.feed(batch, ahead=count)
        found: dict[int, list[Finding]] = {}
        for at, finding in answer.findings:
            found.setdefault(at // width, []).append(finding)
        worst = answer.score.reshape(-1, width).max(axis=1)
        for at, row in enumerate(block):
            yield row, float(worst[at]), found.get(at, ())


def _document(finding: Finding) -> dict[str, Any]:
    said = finding.document()
    for name in ("time_ms", "from_ms", "to_ms"):
        ms = said.pop(name)
        said[name.removesuffix("_ms")] = None if ms is None else _time(ms)
    expected = said.pop("expected_ms")
    said["expected"] = None if expected is None else [_time(ms) for ms in expected]
    return said


def _time(ms: int) -> str:
    when = dt.datetime.fromtimestamp(ms / 1000, dt.UTC)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
