"""Numbers and receipts without a file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from gateway.contract.receipts import RANGES_MAX, Receipt
from gateway.outbox import model
from gateway.outbox.config import ByteCount, OutboxConfig
from gateway.outbox.model import Ignored, Known, Plan, Refusal, Reopened
from tests.outboxes import a_block, an_event

EPOCH, LEDGER = "e" * 16, "1" * 16
KNOWN = Known(epoch=EPOCH, last_number=100, upto=20, ledger=LEDGER)


def receipt(upto: int, *ranges: tuple[int, int], **more: object) -> Receipt:
    fields = {"host": "telomere", "ledger": LEDGER, "epoch": EPOCH, **more}
    return Receipt(upto=upto, ranges=ranges, **fields)  # type: ignore[arg-type]


def test_a_receipt_covers_its_upto_and_ranges_less_what_it_refuses() -> None:
    plan = model.plan(KNOWN, receipt(30, (33, 40), refused=(15, 35)))
    assert plan == Plan(cover=((1, 14), (16, 30), (33, 34), (36, 40)))


def test_another_epochs_receipt_is_ignored_whatever_it_says() -> None:
    assert model.plan(KNOWN, receipt(500, epoch="f" * 16)) == Plan(ignored=Ignored.OTHER_EPOCH)


@pytest.mark.parametrize("said", [receipt(101), receipt(3, (7, 101)), receipt(3, refused=(101,))])
def test_a_number_beyond_the_last_settles_nothing(said: Receipt) -> None:
    assert model.plan(KNOWN, said) == Plan(ignored=Ignored.BEYOND_LAST, beyond_upto=101)


def test_after_a_rollback_only_numbers_above_the_doubtful_ones_settle() -> None:
    known = Known(epoch=EPOCH, last_number=200, upto=20, ledger=LEDGER, beyond_upto=101)
    assert model.plan(known, receipt(150)).cover == ((102, 150),)


def test_a_new_ledger_reopens_what_it_does_not_cover() -> None:
    plan = model.plan(KNOWN, receipt(0, (5, 9), ledger="2" * 16))
    assert plan == Plan(cover=((5, 9),), uncovered=((1, 4), (10, 100)), reopened=Reopened.NEW_LEDGER)


def test_upto_going_backwards_reopens_what_lies_above() -> None:
    plan = model.plan(KNOWN, receipt(19))
    assert plan == Plan(cover=((1, 19),), uncovered=((20, 100),), reopened=Reopened.UPTO_BACKWARDS)


def test_a_range_that_is_forgotten_is_reopened_and_nothing_else() -> None:
    known = Known(epoch=EPOCH, last_number=100, upto=20, ledger=LEDGER, ranges=((23, 25), (30, 31)))
    plan = model.plan(known, receipt(20, (23, 24), refused=(30,)))
    assert plan == Plan(
        cover=((1, 20), (23, 24)), uncovered=((25, 25), (31, 31)), reopened=Reopened.RANGES_FORGOTTEN
    )
    assert model.plan(known, receipt(25, (30, 40))).reopened is None


def test_a_receipt_that_cannot_name_every_range_forgets_none() -> None:
    known = Known(epoch=EPOCH, last_number=100, upto=0, ledger=LEDGER, ranges=((90, 91),))
    full = receipt(0, *((2 * n, 2 * n) for n in range(1, RANGES_MAX + 1)))
    assert model.plan(known, full).reopened is None


def test_the_first_ledger_ever_reopens_nothing() -> None:
    known = Known(epoch=EPOCH, last_number=100, upto=0, ledger=None)
    assert model.plan(known, receipt(7)) == Plan(cover=((1, 7),))


def test_refusals_resend_once_then_park_and_repeated_receipts_count_once() -> None:
    assert model.on_refusal(attempts=1, refused_at=None) is Refusal.RESEND
    assert model.on_refusal(attempts=1, refused_at=1) is Refusal.WAIT
    assert model.on_refusal(attempts=2, refused_at=1) is Refusal.PARK


ranges = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), max_size=6)


def members(spans: object) -> set[int]:
    return {n for first, last in spans for n in range(first, last + 1)}  # type: ignore[attr-defined]


@given(ranges, ranges)
def test_range_arithmetic_is_set_arithmetic(one: list[tuple[int, int]], two: list[tuple[int, int]]) -> None:
    a, b = model.union(one), model.union(two)
    assert members(a) == members(one)
    assert model.size_of(a) == len(members(one))
    assert members(model.without(a, b)) == members(one) - members(two)
    assert model.union(model.without(a, b)) == model.without(a, b)


def test_events_are_no_readings() -> None:
    assert model.count_readings(a_block(5)) == 5
    assert model.count_readings(an_event()) == 0


def test_aliases_are_keys_that_are_no_names() -> None:
    assert model.aliases_of(a_block(3, alias=7)) == [7]
    assert model.aliases_of(an_event()) == []


def test_receipted_goes_first_then_low_priority_then_old() -> None:
    rows = [(False, 2, 1), (False, 1, 9), (False, 1, 3), (True, 5, 8)]
    order = sorted(rows, key=lambda row: model.goes_first(settled=row[0], priority=row[1], number=row[2]))
    assert order == [(True, 5, 8), (False, 1, 3), (False, 1, 9), (False, 2, 1)]


def test_the_forecast_is_what_is_left_at_the_rate_seen() -> None:
    def full(kept: int, grown: int) -> float | None:
        return model.forecast_full_s(bytes_kept=kept, bytes_max=1000, grown_bytes=grown, over_s=10)

    assert full(400, 100) == 60
    assert full(1200, 100) == 0
    assert full(400, 0) is None


class Sizes(BaseModel):
    size: ByteCount


@pytest.mark.parametrize(
    ("text", "count"), [("16kB", 16_000), ("4MiB", 4 * 2**20), ("2GiB", 2**31), ("1.5 MB", 1_500_000), (7, 7)]
)
def test_sizes_are_read_as_people_write_them(text: object, count: int) -> None:
    assert Sizes.model_validate({"size": text}).size == count


@pytest.mark.parametrize("text", ["", "kB", "-1", "12 parsecs", 0, True, None])
def test_what_is_no_size_is_refused(text: object) -> None:
    with pytest.raises(ValidationError):
        Sizes.model_validate({"size": text})


def test_the_defaults_are_those_of_the_interface() -> None:
    assert OutboxConfig() == OutboxConfig.model_validate(
        {"bytes_max": "2GiB", "age_days_max": 90, "keep_receipted_days": 7}
    )
