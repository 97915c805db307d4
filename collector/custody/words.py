"""Who said what about a hand-over: scans at doors and EPCIS events, by the batch that they name.

Owns the reading of both into words of giving and taking, and the chain of each batch, worked out once for
one `Facts`. An event belongs to a batch when one of its identifiers names that batch and no other.
"""

from __future__ import annotations

from collections.abc import Iterator

from collector.custody import epcis
from collector.custody.chain import Custody, Handed, chain
from collector.identity.facts import Facts
from collector.identity.ids import Kind
from collector.identity.times import ns_of

_SIDES = {"hand_over": "give", "receive": "take"}


class Chains:
    """The chain of custody of every batch at one position."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._words: dict[str, list[Handed]] = {}
        for batch, word in (*_of_scans(facts), *_of_events(facts)):
            self._words.setdefault(batch, []).append(word)

    def told(self, batch: str) -> bool:
        """Whether anybody said anything about it."""
        return batch in self._words

    def of(self, batch: str) -> list[Custody]:
        """By time, without hole or overlap."""
        return chain(self._words.get(batch, ()))


def _of_scans(facts: Facts) -> Iterator[tuple[str, Handed]]:
    for act in facts.acts:
        if act.act not in _SIDES:
            continue
        batches = facts.candidates(Kind.BATCH, act.batch)
        if len(batches) == 1:
            yield (
                batches[0],
                Handed(
                    time_ns=act.valid_ns,
                    side=_SIDES[act.act],
                    holder=act.actor or act.equipment,
                    other=act.party,
                    evidence=f"event:{act.event_id}",
                ),
            )


def _of_events(facts: Facts) -> Iterator[tuple[str, Handed]]:
    rows = facts.handings
    withdrawn = {row.subject for row in rows if "errorDeclaration" in row.body["event"]}
    for row in rows:
        event = row.body["event"]
        side = epcis.side(event)
        if not side or row.subject in withdrawn:
            continue
        source, destination = epcis.party(event, "source"), epcis.party(event, "destination")
        place = str((event.get("readPoint") or {}).get("id", ""))
        word = Handed(
            time_ns=ns_of(epcis.time_of(event)),
            side=side,
            holder=(source if side == "give" else destination) or place,
            other=destination if side == "give" else source,
            evidence=row.subject,
        )
        found = {facts.candidates(Kind.BATCH, text) for text in epcis.named(event)}
        for batch in sorted({one[0] for one in found if len(one) == 1}):
            yield batch, word
