"""Key figures are of windows, not of means: the vectors of docs/alarms.md."""

from __future__ import annotations

from collector.alarms.kpi import chattering, figures, floods
from collector.identity.times import NS_PER_S, Span

S = NS_PER_S
MINUTE = 60 * S
DAY = Span(0, 24 * 60 * MINUTE)


def even(n: int, over_ns: int, start_ns: int = 0) -> list[int]:
    return [start_ns + at * over_ns // n for at in range(n)]


def test_nine_in_ten_minutes_are_no_flood_and_ten_are_one() -> None:
    assert floods(even(9, 10 * MINUTE)) == []
    [flood] = floods(even(10, 10 * MINUTE))
    assert flood.from_ns == 0
    assert floods([0, *even(9, 10 * MINUTE, 10 * MINUTE)]) == [], "ten, but in more than ten minutes"


def test_144_in_one_hour_then_none_is_the_usual_mean_and_one_hour_of_flood() -> None:
    times = even(144, 60 * MINUTE)
    told = [(one, f"alarm:{n % 12}", "low") for n, one in enumerate(times)]
    day = figures(told, within=DAY)
    assert day["per_10_min"] == 1.0, "as many as anybody can handle, says the mean"
    hour = figures(told, within=Span(0, 60 * MINUTE))
    assert hour["in_flood"] == 1.0
    assert day["in_flood"] > 0.04
    assert [flood["from_ns"] for flood in day["floods"]] == [0]


def test_a_flood_ends_when_fewer_than_five_lie_in_ten_minutes() -> None:
    burst = [at * S for at in range(10)]
    [flood] = floods(burst)
    assert flood.to_ns == 5 * S + 10 * MINUTE, "the fifth last leaves the window then"
    [longer] = floods([*burst, 9 * MINUTE])
    assert longer.to_ns == 6 * S + 10 * MINUTE
    assert len(floods([*burst, *[11 * MINUTE + at * S for at in range(10)]])) == 2


def test_chattering_is_three_times_in_a_minute() -> None:
    assert chattering([0, 20 * S, 59 * S])
    assert not chattering([0, 30 * S, 60 * S])
    assert not chattering([0, 10 * S])


def test_figures_of_one_position() -> None:
    told = [(at * 10 * S, "alarm:a", "high") for at in range(3)] + [(HOUR, "alarm:b", "low")]
    found = figures(told, within=DAY, stale=["alarm:b"])
    assert found["annunciations"] == 4
    assert found["chattering"] == ["alarm:a"]
    assert found["priorities"] == {"high": 0.75, "low": 0.25}
    assert found["top_10_share"] == 1.0
    assert found["stale"] == ["alarm:b"]
    assert figures([], within=DAY)["top_10_share"] is None


HOUR = 60 * MINUTE
