"""What was answered at a position is answered again, byte for byte, when everything derived was made anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.oracle.answers.recorded import Recording, run


@pytest.mark.slow
@pytest.mark.timeout(180)  # twenty seconds on a machine of its own
async def test_recorded_answers_come_back_in_a_new_process(tmp_path: Path) -> None:
    found = await run(tmp_path, acts=90, positions=8, seed=7)
    assert found["differing"] == []
    assert found["positions"] == 8
    assert found["rebuilt"]["equal"]
    assert found["acts"]["feel"] > found["refused"].get("correction", 0)


def test_an_answer_that_is_not_the_same_is_told() -> None:
    one = Recording({"L1.J1": {"/exceptions": "a", "/excursions": "b"}})
    other = Recording({"L1.J1": {"/exceptions": "a", "/excursions": "c"}})
    assert one.differing(one) == []
    assert one.differing(other) == ["L1.J1 /excursions"]
    assert one.differing(Recording()) == ["L1.J1 /exceptions", "L1.J1 /excursions"]
