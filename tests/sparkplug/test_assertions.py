"""Every assertion of the Sparkplug B specification 3.0.0 that applies, over the recorded sessions."""

from __future__ import annotations

import pytest

from tests.sparkplug import checks_host, checks_messages, checks_session
from tests.sparkplug.inapplicable import INAPPLICABLE, NOT_FOLLOWED
from tests.sparkplug.registry import CHECKS, all_ids
from tests.sparkplug.story import Story

MODULES = (checks_host, checks_messages, checks_session)
"""Imported for the checks that they register."""


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("id", sorted(CHECKS))
def test_assertion(story: Story, id: str) -> None:
    CHECKS[id](story)


def test_every_id_of_the_specification_has_a_check_or_a_reason() -> None:
    ids = all_ids()
    assert len(set(ids)) == len(ids) == 299
    tables = [set(CHECKS), set(INAPPLICABLE), set(NOT_FOLLOWED)]
    assert sum(map(len, tables)) == len(set().union(*tables)), "an id stands in two tables"
    assert set(ids) - set().union(*tables) == set(), "neither checked nor excused"
    assert set().union(*tables) - set(ids) == set(), "not of the specification"
