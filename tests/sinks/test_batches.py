"""The batch tag: labels of a point in time, and what is written again when links change."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.api.links import Acts
from collector.identity.facts import Facts
from collector.identity.ids import Position
from collector.registry.commands import Registry
from collector.registry.journal import Journal
from collector.store.sinks.labels import END_NS, Labelled, changes, labels_of
from tests.gateways import T0_MS, metric, numbers
from tests.sinks.servers import Influx, Victoria
from tests.sinks.site import Site

NS = 1_000_000
POINT = "zurich/gw-1/BR-01/t"
START_NS = T0_MS * NS


class Links:
    """A journal whose links a test states and corrects."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.journal = Journal.open(url="sqlite:", data_dir=site.folder, now_ns=lambda: site.stores.now_ns)
        self._registry = Registry(journal=self.journal, acts=Acts(site.stores.projection).upto)
        for kind, subject in (
            ("equipment", "equipment:BR-01"),
            ("batch", "batch:s/B-1"),
            ("batch", "batch:s/B-2"),
        ):
            self._append(kind, subject, {"name": subject})
        self.link("link:1", "point-equipment", POINT, START_NS - 10**12, None)

    def _append(self, kind: str, subject: str, body: dict[str, Any]) -> None:
        self.journal.append(kind=kind, subject=subject, body=body, actor="user:a")

    def link(self, id: str, role: str, subject: str, from_ns: int, to_ns: int | None) -> None:
        body = {
            "role": role,
            "subject": subject,
            "object": "equipment:BR-01",
            "from_ns": from_ns,
            "to_ns": to_ns,
        }
        self._append("link", id, {**body, "source": "manual"})

    def batch(self, id: str, batch: str, from_s: int, to_s: int | None) -> None:
        to_ns = None if to_s is None else START_NS + to_s * 10**9
        self.link(id, "batch-equipment", batch, START_NS + from_s * 10**9, to_ns)

    def correct(self, id: str, **body: Any) -> None:
        self._append("link_correction", id, body)

    def facts(self) -> Facts:
        cursor = self._site.stores.projection.cursor()
        return self._registry.facts(Position(cursor, self.journal.last(), 0))


@pytest.fixture
def links(site: Site) -> Links:
    site.born(metric("t", 1))
    site.take()
    return Links(site)


def tagged(influx: Influx) -> dict[str, list[float]]:
    """Values by batch."""
    return {
        one["tags"]["batch"]: [row[1] for row in one["values"]]
        for one in influx.ql('SELECT value FROM readings GROUP BY "batch"')
    }


def test_labels_in_time(links: Links) -> None:
    links.batch("link:2", "batch:s/B-1", 0, 10)
    links.batch("link:3", "batch:s/B-2", 5, None)
    at = [START_NS + second * 10**9 for second in (0, 5, 10)]
    assert labels_of(links.facts()) == {
        POINT: (
            Labelled(at[0], at[1], "s/B-1"),
            Labelled(at[1], at[2], "s/B-1+s/B-2"),
            Labelled(at[2], END_NS, "s/B-2"),
        )
    }


def test_a_late_link_and_its_correction_are_written_again(site: Site, links: Links, influx: Influx) -> None:
    copier = site.copier(influx.sink, facts=links.facts)
    site.take(numbers(1, T0_MS, [float(i) for i in range(10)]))
    site.drain(copier)
    assert tagged(influx) == {"": [float(i) for i in range(10)]}
    links.batch("link:2", "batch:s/B-1", 2, 5)
    site.drain(copier)
    assert tagged(influx) == {"": [0.0, 1.0, 5.0, 6.0, 7.0, 8.0, 9.0], "s/B-1": [2.0, 3.0, 4.0]}
    links.correct("link:2", object="equipment:BR-01", to_ns=START_NS + 4 * 10**9)
    links.batch("link:3", "batch:s/B-2", 8, None)
    site.take(numbers(1, T0_MS + 10_000, [10.0]))
    again = site.copier(influx.sink, facts=links.facts)
    site.drain(again)
    assert tagged(influx) == {
        "": [0.0, 1.0, 4.0, 5.0, 6.0, 7.0],
        "s/B-1": [2.0, 3.0],
        "s/B-2": [8.0, 9.0, 10.0],
    }
    assert (again.counts.rewritten, again.counts.stale) == (2, 0)
    assert again.cursor == site.stores.ledger.last_id()


def test_a_server_without_deletes_keeps_the_old_series_and_it_is_told(
    site: Site, links: Links, victoria: Victoria
) -> None:
    copier = site.copier(victoria.sink, facts=links.facts)
    site.take(numbers(1, T0_MS, [1.0, 2.0]))
    site.drain(copier)
    links.batch("link:2", "batch:s/B-1", 1, None)
    site.drain(copier)
    assert victoria.export('{__name__="readings_value"}')  # which makes it show what it has
    site.now_s += 16
    site.drain(copier)
    series = victoria.export('{__name__="readings_value"}')
    found = {one["metric"].get("batch", ""): one["values"] for one in series}
    assert found == {"": [1, 2], "s/B-1": [2]}
    assert (copier.counts.rewritten, copier.counts.stale) == (1, 1)
    assert copier.cursor == site.stores.ledger.last_id()


SPANS = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 10), st.sampled_from("ab")), max_size=5)


def _apart(parts: list[tuple[int, int, str]]) -> tuple[Labelled, ...]:
    at, out = 0, []
    for gap, length, text in parts:
        out.append(Labelled(at + gap, at + gap + length, text))
        at += gap + length
    return tuple(out)


@given(SPANS, SPANS)
def test_changes_are_exactly_the_instants_that_differ(
    old: list[tuple[int, int, str]], new: list[tuple[int, int, str]]
) -> None:
    before, after = _apart(old), _apart(new)

    def text(spans: tuple[Labelled, ...], at: int) -> str:
        return next((one.text for one in spans if one.from_ns <= at < one.to_ns), "")

    found = [at for _, low, high in changes({"p": before}, {"p": after}) for at in range(low, high)]
    assert found == [at for at in range(250) if text(before, at) != text(after, at)]
