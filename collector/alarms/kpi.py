"""Key figures of an alarm system, for each operator position, over windows and not means.

Owns floods, rates, chattering and the mix of priorities. Averages hide floods (144 alarms in one hour are
"144 a day"), so every figure is of windows. Pure: times in, figures out. Source: ISA-18.2-2016, EEMUA 191.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from collector.identity.times import NS_PER_S, Span

WINDOW_NS: Final = 600 * NS_PER_S
FLOOD_STARTS: Final = 10
"""Annunciations in one window."""
FLOOD_ENDS: Final = 5
"""A flood is over when a window holds fewer (to be confirmed by QA)."""
CHATTER_TIMES: Final = 3
CHATTER_NS: Final = 60 * NS_PER_S
TOP: Final = 10


def floods(times_ns: Sequence[int]) -> list[Span]:
    """Spans of flood, from annunciation times, ascending.

    A flood begins with the first of ten that came within ten minutes, and ends when fewer than five lie
    within the last ten minutes.
    """
    out: list[Span] = []
    at = 0
    while at + FLOOD_STARTS <= len(times_ns):
        if times_ns[at + FLOOD_STARTS - 1] - times_ns[at] >= WINDOW_NS:
            at += 1
            continue
        last = at + FLOOD_STARTS - 1
        # the fifth last keeps it up for a window; it goes on while another comes before that is over
        while last + 1 < len(times_ns) and times_ns[last + 1] < _ends(times_ns, last):
            last += 1
        out.append(Span(times_ns[at], _ends(times_ns, last)))
        at = last + 1
    return out


def _ends(times_ns: Sequence[int], last: int) -> int:
    return times_ns[last - FLOOD_ENDS + 1] + WINDOW_NS


def chattering(times_ns: Sequence[int]) -> bool:
    """Whether one alarm became active three times within a minute (its activations, ascending)."""
    return any(
        later - earlier < CHATTER_NS
        for earlier, later in zip(times_ns, times_ns[CHATTER_TIMES - 1 :], strict=False)
    )


def figures(
    told: Sequence[tuple[int, str, str]], *, within: Span, stale: Sequence[str] = ()
) -> Mapping[str, Any]:
    """Of one operator position. `told`: (known ns, alarm id, priority) of each annunciation, ascending."""
    inside = [one for one in told if within.from_ns <= one[0] < within.to_ns]
    times = [one[0] for one in inside]
    flooded = [Span(max(one.from_ns, within.from_ns), min(one.to_ns, within.to_ns)) for one in floods(times)]
    in_flood_s = sum(one.seconds for one in flooded)
    by_alarm: dict[str, list[int]] = {}
    for time_ns, alarm, _ in inside:
        by_alarm.setdefault(alarm, []).append(time_ns)
    counts = Counter({alarm: len(of) for alarm, of in by_alarm.items()})
    top = sum(n for _, n in counts.most_common(TOP))
    mix = Counter(priority for *_, priority in inside)
    windows = within.seconds / (WINDOW_NS / NS_PER_S)
    return {
        "annunciations": len(inside),
        "per_10_min": round(len(inside) / windows, 4) if windows else None,
        "floods": [{"from_ns": one.from_ns, "to_ns": one.to_ns} for one in flooded],
        "in_flood": round(in_flood_s / within.seconds, 6) if within.seconds else 0.0,
        "chattering": sorted(alarm for alarm, of in by_alarm.items() if chattering(of)),
        "stale": sorted(stale),
        "top_10_share": round(top / len(inside), 4) if inside else None,
        "priorities": {name: round(n / len(inside), 4) for name, n in sorted(mix.items())},
    }
