"""The domain's edge cases as data: each file is an input and what must be known of it, at which position.

Every file goes through the registry's commands, the fold, the judge and the gate. A file names the
detector that finds its case: without that detector the case must fail, or the file proves nothing.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from collector.identity import exceptions as detectors
from collector.identity.errors import RefusedError
from collector.identity.exceptions import ExceptionItem, NodeSeen, PointSeen, all_exceptions, worst_first
from collector.identity.facts import Facts
from collector.identity.ids import Kind, Position
from collector.identity.requests import (
    AliasRequest,
    BatchRequest,
    ContainerRequest,
    CorrectionRequest,
    DecisionRequest,
    EquipmentRequest,
    IdentificationRequest,
    LinkRequest,
    ProductProfileRequest,
    RuleRequest,
)
from collector.identity.times import NS_PER_S
from collector.judge.columns import PointFacts
from collector.judge.history import Sources, build_history
from collector.judge.readiness import Purpose, readiness
from collector.records import signing
from collector.registry.commands import (
    confirm_link,
    correct_link,
    post_batch,
    post_link,
    post_rule,
    post_thing,
    reject_link,
)
from collector.registry.identities import (
    decide_identification,
    identify,
    post_alias,
    post_profile,
    post_provisional,
)
from tests.scenario.edge_kept import alarms_at, command, sign
from tests.scenario.edge_steps import stated_steps
from tests.unit.identity_site import Columns, Site, Store, at, columns, ns

FOLDER: Final = Path(__file__).parent / "edge_cases"
FILES: Final = sorted(FOLDER.glob("*.json"))
FOUND: Final = [path for path in FILES if json.loads(path.read_text(encoding="utf-8"))["detector"]]
"""Without those whose input is refused: what is never stored is not detected afterwards."""
Document = dict[str, Any]
TIMES: Final = {"from", "to", "time", "calibrated", "due"}


def clock(text: str) -> float:
    """Hours of `07:30`, or of `31:00` for seven the next morning."""
    hours, _, minutes = text.partition(":")
    return int(hours) + int(minutes) / 60


def timed(body: Mapping[str, Any]) -> Document:
    """A request's body with its clock times as instants."""
    return {
        key: at(clock(value)).isoformat() if key in TIMES and value else value for key, value in body.items()
    }


def hour(time_text: str | None) -> str | None:
    """An instant of an answer as the files write it; minutes are enough."""
    if time_text is None:
        return None
    day = 24 * (int(time_text[8:10]) - 4)
    return f"{int(time_text[11:13]) + day:02d}:{time_text[14:16]}"


class Case:
    """One file, told step by step."""

    def __init__(self, document: Document, folder: Path) -> None:
        self.document = document
        self.site = Site(folder)
        self.made: dict[str, str] = {}
        self.marks: dict[str, Position] = {}
        for body in document.get("equipment", ()):
            post_thing(self.site.registry, "setup", EquipmentRequest.model_validate(body))
        for body in document.get("containers", ()):
            post_thing(self.site.registry, "setup", ContainerRequest.model_validate(body))
        for body in document.get("profiles", ()):
            post_profile(self.site.registry, "setup", ProductProfileRequest.model_validate(body))
        for body in document.get("batches", ()):
            request = BatchRequest.model_validate({"issuer": "site", **timed(body)})
            post_batch(self.site.registry, "setup", request)
        for point, equipment in document.get("placed", {}).items():
            body = {"subject": point, "object": equipment, "role": "point-equipment", "source": "scan"}
            post_link(
                self.site.registry, "setup", LinkRequest.model_validate({**body, "from": at(0).isoformat()})
            )

    def tell(self) -> None:
        """All steps; one that must be refused says how."""
        for step in self.document["steps"]:
            self.site.now_ns = max(self.site.now_ns, ns(clock(step.get("said", "00:00"))))
            if "refused" in step:
                with pytest.raises((RefusedError, ValueError), match=step["refused"]):
                    self._do(step)
            else:
                self._do(step)

    def _do(self, step: Document) -> None:
        body = timed(step.get("body", {}))
        registry, who = self.site.registry, step.get("who", "anna")
        decided = DecisionRequest(reason=step.get("reason", "looked at it"))
        container = str(self.made.get(step.get("container", ""), step.get("container", "")))
        named = str(step.get("link", ""))
        link = self.made.get(named, named)
        doing: dict[str, Callable[[], str | None]] = {
            "scan": lambda: self._scan(step, who),
            "link": lambda: post_link(registry, who, LinkRequest.model_validate({"reason": "r", **body})).id,
            "correct": lambda: correct_link(registry, who, link, CorrectionRequest.model_validate(body)).id,
            "confirm": lambda: confirm_link(registry, who, link, decided).id,
            "rebatch": lambda: str(
                registry.journal.append(
                    kind="batch", subject=step["batch"], body=body, actor=who, reason="from the hospital"
                ).id
            ),
            "reject": lambda: reject_link(registry, who, link, decided).id,
            "rule": lambda: post_rule(registry, who, RuleRequest.model_validate(body)).ref,
            "batch": lambda: (
                post_batch(registry, who, BatchRequest.model_validate({"issuer": "site", **body})).id
            ),
            "relabel": lambda: str(
                post_alias(registry, who, step["batch"], AliasRequest.model_validate(body))[0].number
            ),
            "unreadable": lambda: post_provisional(registry, who, ContainerRequest.model_validate(body)).id,
            "identify": lambda: (
                identify(registry, who, container, IdentificationRequest.model_validate(body)).id
            ),
            "agree": lambda: decide_identification(registry, who, container, decided, confirm=True).id,
            "mark": lambda: self._mark(step),
            "sign": lambda: self._sign(step, who),
            "alarm": lambda: command(registry.journal, who, step, ns(clock(step.get("until", "00:00")))),
            **stated_steps(registry, who, step, body, self.made),
        }
        if "subject" in body:
            body["subject"] = self.made.get(body["subject"], body["subject"])
        made = doing[step["do"]]()
        if made and "as" in step:
            self.made[step["as"]] = made

    def _scan(self, step: Document, who: str) -> None:
        act, batch, equipment = step["scan"]
        self.site.scan(
            act,
            batch,
            equipment,
            time=at(clock(step["time"])),
            effective=at(clock(step["effective"])) if "effective" in step else None,
            known=at(clock(step["known"])) if "known" in step else None,
            actor=who,
            label=step.get("label", "read"),
        )

    def _mark(self, step: Document) -> None:
        self.marks[step["name"]] = self.site.position(clock(step["time"]))

    def _sign(self, step: Document, who: str) -> str:
        position = self.site.position(clock(step["time"]))
        facts = self.site.registry.facts(position)
        batch = facts.find(Kind.BATCH, step["batch"])
        document = build_history(batch, facts, sources=self.sources(position), software="x")
        return sign(self.site.registry.journal, who, step["meaning"], document)

    # --- what is known ----------------------------------------------------------------------------

    def store(self, position: Position) -> Store:
        """Readings that were known at the position: a series may arrive later than it was felt."""
        held: dict[str, Columns] = {}
        for point, told in self.document.get("readings", {}).items():
            rows: list[tuple[int, float | None, str]] = []
            for series in told["series"]:
                if position.known_ns < ns(clock(series.get("known", "00:00"))):
                    continue
                start, end = ns(clock(series["from"])), ns(clock(series["to"]))
                step = int(series.get("period_s", told["period_s"]) * NS_PER_S)
                reason = series.get("reason", "")
                value = None if reason else series["value"]
                rows += [(time, value, reason) for time in range(start, end, step)]
            held[point] = columns(sorted(rows, key=lambda row: row[0]))
        return Store(held)

    def sources(self, position: Position) -> Sources:
        facts = self.site.registry.facts(position)
        told = self.document.get("readings", {})
        nodes = [
            NodeSeen(
                group=one["group"],
                node=one["node"],
                epoch=one["epoch"],
                gaps=tuple((first, last) for first, last in one.get("gaps", ())),
                forks=tuple(one.get("forks", ())),
                known_ns=position.known_ns,
            )
            for one in self.document.get("nodes", ())
        ]
        return Sources(
            read=self.store(position),
            points={
                point: PointFacts(
                    name=point,
                    unit="Cel",
                    period_ns=int(one["period_s"] * NS_PER_S),
                    changes=tuple(
                        (ns(clock(since)), int(period_s * NS_PER_S))
                        for since, period_s in one.get("periods", ())
                    ),
                )
                for point, one in told.items()
            },
            frontiers={name: ns(clock(time)) for name, time in self.document.get("frontiers", {}).items()},
            exceptions=all_exceptions(
                facts, nodes=nodes, points=[PointSeen(point, position.known_ns) for point in told]
            ),
        )

    def check(self) -> None:
        """Everything that the file expects."""
        for expected in self.document["expect"]:
            position = self.marks.get(expected.get("as_known_at", ""), self.site.position(clock(self.end)))
            facts, sources = self.site.registry.facts(position), self.sources(position)
            items: list[ExceptionItem] = list(sources.exceptions)
            histories = {}
            for batch in facts.batches:
                plain = build_history(batch, facts, sources=sources, software="x", gather=items)
                histories[batch.id] = self._kept(plain, facts, position, items)
            found = sorted(
                [one.kind.value, one.subjects[0], "resolved" if one.resolved else "open"]
                for one in worst_first(items)
            )
            assert found == sorted(expected["exceptions"])
            for batch, wanted in expected.get("history", {}).items():
                seen(histories[facts.find(Kind.BATCH, batch).id], wanted)

    def _kept(
        self, plain: Document, facts: Facts, position: Position, items: list[ExceptionItem]
    ) -> Document:
        """With its signatures and alarms."""
        journal = self.site.registry.journal
        signed = signing.signatures_of(journal.rows(upto=position.journal), journal.answer)
        document, found = signing.recorded(plain, facts, signed)
        items += found
        known_of: dict[str, dict[int, int]] = {}
        for point, told in self.document.get("readings", {}).items():
            late = known_of.setdefault(point, {})
            for series in told["series"]:
                if "known" in series:
                    start, end = ns(clock(series["from"])), ns(clock(series["to"]))
                    step = int(series.get("period_s", told["period_s"]) * NS_PER_S)
                    late.update(dict.fromkeys(range(start, end, step), ns(clock(series["known"]))))
        readings = self.store(position).points
        return {**document, "alarms": alarms_at(facts, journal.rows(), readings, known_of, position)}

    @property
    def end(self) -> str:
        """When the file is looked at, unless an expectation names a mark."""
        return str(self.document.get("end", "24:00"))


def seen(history: Document, wanted: Document) -> None:
    """What a file may expect of a history."""
    told = {
        "legs": [
            [leg["equipment"].removeprefix("equipment:"), hour(leg["from"]), hour(leg["to"]), leg["state"]]
            for leg in history["legs"]
        ],
        "excursions": [[one["rule"], hour(one["from"]), hour(one["to"])] for one in history["excursions"]],
        "drawn_s": [one["drawn_s"] for one in history["budgets"]],
        "evidence": [text for one in history["exceptions"] for text in one["evidence"]],
        "custodians": [
            [
                [part["holder"] or part["state"], hour(part["from"]), hour(part["to"])]
                for part in one["custodians"]
            ]
            for one in history["excursions"]
        ],
        "decides": [one["decides"] for one in history["excursions"]],
        "custody": [
            [one["holder"] or one["state"], hour(one["from"]), hour(one["to"])]
            for one in history["custody"]["chain"]
        ],
        "inherited": [leg["inherited_from"] for leg in history["legs"]],
        "record": history["record"]["state"],
        "changed": [one["changed"] for one in history["record"]["signatures"]],
        "alarms": [
            [one["id"] if not one["retrospective"] else "finding", one["letter"]] for one in history["alarms"]
        ],
        "impacts": [[one["point"].split("/")[-1], one["impact"]] for one in history["calibration"]],
    }
    for key, value in wanted.items():
        if key == "coverage":
            assert {name: history["coverage"][name] for name in value} == value
            counted = sum(history["coverage"][name] for name in STATES)
            assert counted == history["coverage"]["slots"]
        elif key == "gate":
            checks = {one["id"]: one["result"] for one in readiness(history, Purpose.RELEASE)["checks"]}
            assert {name: checks[name] for name in value} == value
        elif key == "evidence":
            for part in value:
                assert any(part in text for text in told["evidence"]), (part, told["evidence"])
        else:
            assert told[key] == value, key


STATES: Final = ("present", "late_pending", "missing", "faulty", "not_required", "unassigned")


def case_of(path: Path, folder: Path) -> Case:
    return Case(json.loads(path.read_text(encoding="utf-8")), folder)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_edge_case(path: Path, tmp_path: Path) -> None:
    case = case_of(path, tmp_path)
    case.tell()
    case.check()
    case.site.close()


def silenced(document: Document, patch: pytest.MonkeyPatch) -> None:
    """Take a detector out: of the list of those over facts, or by one in its place that finds nothing."""
    module_name, _, attribute = document["detector"].partition(":")
    module = importlib.import_module(module_name)
    detector = getattr(module, attribute)
    gives = document.get("gives", [])
    if detector in detectors.OVER_FACTS:
        rest = tuple(one for one in detectors.OVER_FACTS if one is not detector)
        patch.setattr(detectors, "OVER_FACTS", rest)
    elif not callable(detector):
        patch.setattr(module, attribute, type(detector)())
    else:
        blind = (
            (lambda first, *_rest, **_more: first) if gives == "first" else (lambda *_args, **_more: gives)
        )
        patch.setattr(module, attribute, blind)


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_without_its_detector_the_case_fails(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = case_of(path, tmp_path)
    silenced(case.document, monkeypatch)
    case.tell()
    with pytest.raises(AssertionError):
        case.check()
    case.site.close()


def test_every_case_has_its_number_title_and_behaviour() -> None:
    for path in FILES:
        document = json.loads(path.read_text(encoding="utf-8"))
        assert path.name.startswith(f"{document['case']:02d}-")
        assert document["title"]
        assert document["expect"]
