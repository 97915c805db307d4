"""Stays: how acts at the door open and close links of batches and containers to equipment.

Owns the derivation in valid-time order, so that any order of arrival gives the same stays: put in
(and move) opens, take out closes, a later put in elsewhere ends what was open. Versions of a link
are applied before, so a corrected time moves the end of the stay before it as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from collector.identity.links import Link, Role, State
from collector.identity.rows import Act, ScanAct

OPENING: Final = frozenset({Act.PUT_IN.value, Act.MOVE.value})
STAYING: Final = (Role.BATCH_EQUIPMENT, Role.CONTAINER_EQUIPMENT)
CLOSING: Final = frozenset({Act.TAKE_OUT.value})


@dataclass(frozen=True, slots=True)
class TakeOut:
    """A take out whose subject is known; `equipment` is an id, or "" when none was scanned."""

    act: ScanAct
    batch: str
    equipment: str


@dataclass(frozen=True, slots=True)
class Stays:
    """Batch-equipment links with their ends in force, and take outs that closed nothing."""

    links: tuple[Link, ...]
    unmatched: tuple[TakeOut, ...]


def _order(link: Link) -> tuple[int, str]:
    return (link.from_ns, link.id)


def derive(links: Iterable[Link], take_outs: Sequence[TakeOut]) -> Stays:
    """Ends in force for all links to equipment that acts may end. Others pass through unchanged."""
    by_batch: dict[str, list[Link]] = {}
    done: list[Link] = []
    for link in links:
        if link.role in STAYING and link.state is not State.REJECTED:
            by_batch.setdefault(link.subject, []).append(link)
        else:
            done.append(link)
    closing: dict[str, list[TakeOut]] = {}
    for take_out in take_outs:
        closing.setdefault(take_out.batch, []).append(take_out)
    unmatched: list[TakeOut] = []
    for batch in sorted(by_batch.keys() | closing.keys()):
        stays = _of_batch(sorted(by_batch.get(batch, ()), key=_order), closing.get(batch, ()))
        done.extend(stays.links)
        unmatched.extend(stays.unmatched)
    return Stays(tuple(sorted(done, key=lambda link: link.id)), tuple(unmatched))


def _of_batch(links: Sequence[Link], take_outs: Sequence[TakeOut]) -> Stays:
    """One batch; `links` by time. Only acts end a stay: an entered link states its own end."""
    ended: list[Link] = []
    used: set[str] = set()
    outs = sorted(take_outs, key=lambda out: (out.act.valid_ns, out.act.event_id))
    for at, link in enumerate(links):
        if link.current.to_stated:
            ended.append(link)
            continue
        end: tuple[int, str] | None = next(
            ((later.from_ns, later.event) for later in links[at + 1 :] if later.event), None
        )
        for out in outs:
            here = out.equipment in ("", link.object)
            # taken out and put back in the same minute: the act closed the stay before, not this one
            since = out.act.valid_ns > link.from_ns or (
                out.act.valid_ns == link.from_ns and out.act.event_id not in used
            )
            if here and since and (end is None or out.act.valid_ns <= end[0]):
                end = (out.act.valid_ns, out.act.event_id)
                used.add(out.act.event_id)
                break
        ended.append(link if end is None else replace(link, to_ns=end[0], ended_by=f"event:{end[1]}"))
    explicit = [link for link in links if link.current.to_stated]
    unmatched = [
        out
        for out in outs
        if out.act.event_id not in used and not any(_covers(link, out) for link in explicit)
    ]
    return Stays(tuple(ended), tuple(unmatched))


def _covers(link: Link, out: TakeOut) -> bool:
    """A take out inside, or at the end of, a stay whose end was stated by hand is no surprise."""
    inside = link.from_ns <= out.act.valid_ns and (link.to_ns is None or out.act.valid_ns <= link.to_ns)
    return inside and out.equipment in ("", link.object)


def overlapping(links: Mapping[str, Link] | Iterable[Link]) -> Iterable[tuple[Link, Link]]:
    """Pairs of batch-equipment links in force that share an instant, each pair once."""
    values = links.values() if isinstance(links, Mapping) else links
    active = sorted(
        (
            link
            for link in values
            if link.role is Role.BATCH_EQUIPMENT
            and link.state is not State.REJECTED
            and (link.to_ns is None or link.to_ns > link.from_ns)
        ),
        key=_order,
    )
    for at, first in enumerate(active):
        for second in active[at + 1 :]:
            if first.to_ns is not None and second.from_ns >= first.to_ns:
                break
            yield first, second
