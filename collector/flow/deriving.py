"""The findings' task: brings every limit rule's track up to what is projected, behind the projection.

Owns the pace and what happens after a failure. It stays behind on purpose: an answer takes the track and
works out what came since, so nothing waits for this task, and it never takes more than a share of one core.
A failure is told (`telomere_findings_failing`) and tried again; answers are then worked out from readings.
Must not know how a track is derived.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import structlog

from collector.identity.facts import RuleVersion, fold
from collector.identity.ids import Position
from collector.identity.rows import RowKind
from collector.judge.columns import PointFacts
from collector.judge.excursions import in_ms
from collector.registry.journal import Journal
from collector.store.judging.deriving import Answers, Changes, Deriver, EndedError
from collector.store.judging.findings import Findings, FindingsReading
from collector.store.judging.points import declared_points
from collector.store.judging.sections import SectionReading
from collector.store.ledger import Ledger
from collector.store.live import LiveBoard
from collector.store.projection import Projection

PAUSE_S: Final = 2.0
"""Between two rounds at least: tracks grow by some readings at a time, each round has a price of its own."""
SHARE: Final = 0.25
"""Of one core at most: after a round it rests three times as long as it worked."""
RETRY_S: Final = 5.0

log = structlog.get_logger(__name__)


class Deriving:
    """Runs a `Deriver` until stopped."""

    def __init__(
        self,
        deriver: Deriver,
        *,
        findings: Findings,
        journal: Journal,
        projection: Projection,
        live: LiveBoard,
    ) -> None:
        self._deriver, self._findings = deriver, findings
        self._journal, self._projection, self._live = journal, projection, live
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="findings")
        live.findings_upto = findings.cursor()[0]

    async def run(self, stop: asyncio.Event) -> None:
        """Follow until `stop`; the rule in hand is left as it was."""
        loop = asyncio.get_running_loop()
        try:
            while not stop.is_set():
                began_s = loop.time()
                try:
                    await loop.run_in_executor(self._executor, self.round, stop)
                except Exception as error:  # readings are judged without it; the metric says it
                    log.warning("findings cannot be derived, trying again", error=repr(error))
                    self._live.findings_fault = f"findings cannot be derived: {error}"
                    await _wait(stop, RETRY_S)
                    continue
                self._live.findings_fault = ""
                await _wait(stop, max(PAUSE_S, (loop.time() - began_s) * (1 / SHARE - 1)))
        finally:
            await asyncio.to_thread(self._executor.shutdown)
            self._findings.close()

    def round(self, stop: asyncio.Event) -> None:
        """Every rule in force, up to what is projected now. Blocking."""
        ledger, journal = self._projection.cursor(), self._journal.last()
        if (ledger, journal) == self._findings.cursor():
            return
        rules = rules_at(self._journal, journal)
        points = declared_points(self._projection, upto=ledger)
        for rule in rules:
            if stop.is_set():
                return
            point = points.get(rule.point) or PointFacts(name=rule.point)
            try:
                self._deriver.bring_up(rule.limit(), in_ms(point.periods), upto=ledger, ended=stop.is_set)
            except EndedError:
                return
        self._findings.followed(ledger=ledger, journal=journal, rules=[rule.limit() for rule in rules])
        self._live.findings_upto = ledger


async def _wait(stop: asyncio.Event, timeout_s: float) -> None:
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait((stopping,), timeout=timeout_s)
    stopping.cancel()


def rules_at(journal: Journal, upto: int) -> list[RuleVersion]:
    """The latest version of every rule as known at a row of the journal."""
    rows = journal.rows(upto=upto, kinds=(RowKind.RULE,))
    return fold(rows, (), Position(0, upto, 0)).latest_rules()


def follow_findings(
    path: Path,
    *,
    ledger: Ledger,
    journal: Journal,
    projection: Projection,
    sections: SectionReading,
    live: LiveBoard,
) -> tuple[Answers, Deriving]:
    """What answers from findings, and what brings them up. Blocking."""
    findings = Findings(path, ledger_id=ledger.id, last_id=ledger.last_id())
    changes = Changes(ledger=ledger, projection=projection, sections=sections)
    answers = Answers(findings=FindingsReading(path), sections=sections, changes=changes)
    deriver = Deriver(findings=findings, sections=sections, changes=changes)
    return answers, Deriving(deriver, findings=findings, journal=journal, projection=projection, live=live)
