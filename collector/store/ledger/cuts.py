"""An original that lost its end: its ids are given again, so it must not go on under its old name.

Owns the finding (an end that was seen and is not there), the new id of a ledger that was cut, and the
note that tells people which positions are void. Gateways see the new id in the next receipt and send
again what they keep. Must not know what entries mean.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Final, Literal

import apsw
import structlog

from collector.registry.anchor import End
from collector.store.database import immediate, query_one

KEY: Final = "cuts"
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """`original` ended at id `last` though it had been seen to reach `seen`. `ledger` is the ledger's id
    before, `at` the last entry that was there when it was found, from which on it is known.
    """

    original: Literal["ledger", "journal"]
    ledger: str
    last: int
    seen: int
    at: int
    found_ns: int


def mend(
    connection: apsw.Connection, seen: Iterable[End], *, anchor: End | None, now_ns: int
) -> tuple[str, int]:
    """The ledger's id, a new one when it lacks what was seen of it; and the floor of its known time.

    An anchor of another id beside a ledger with entries: the file lost even that it had got a new id.

    One look by key an end: the start does not grow with the ledger.
    """
    row = query_one(connection, "SELECT value FROM meta WHERE key = 'ledger'")
    last = query_one(connection, "SELECT COALESCE(max(id), 0) FROM entry")
    assert row is not None and last is not None, "the file was made with an id"  # noqa: PT018 (one fact)
    ledger, last_id = str(row[0]), int(last[0])
    ends = [end for end in seen if end.original == ledger]
    stranger = anchor if anchor is not None and anchor.original != ledger and last_id else None
    if anchor is not None:
        ends.append(anchor)
    floor_ns = max((end.floor_ns for end in ends), default=0)
    lost = [
        end for end in ends if end is stranger or (end.original == ledger and not _holds(connection, end))
    ]
    if not lost:
        return ledger, floor_ns
    reached = max(end.id for end in lost)
    # where it still has so many entries, their ids were given again before: no position is sure
    last_sure = last_id if reached > last_id and stranger is None else 0
    cut = Cut(original="ledger", ledger=ledger, last=last_sure, seen=reached, at=last_id, found_ns=now_ns)
    new = secrets.token_hex(8)
    noted = query_one(connection, "SELECT value FROM meta WHERE key = ?", (KEY,))
    with immediate(connection):
        connection.execute("UPDATE meta SET value = ? WHERE key = 'ledger'", (new,))
        connection.execute(
            "INSERT OR REPLACE INTO meta VALUES (?, ?)",
            (KEY, text([*parse(None if noted is None else noted[0]), cut])),
        )
    log.error(
        "the ledger lost its end: it goes on under a new id, and gateways send again what they keep",
        ends_at=last_id,
        had_reached=reached,
        before=ledger,
        ledger=new,
    )
    return new, floor_ns


def _holds(connection: apsw.Connection, end: End) -> bool:
    """Whether the entry that was seen last is there, and the same."""
    if end.id == 0:
        return True
    row = query_one(connection, "SELECT known_at FROM entry WHERE id = ?", (end.id,))
    return row is not None and end.known_ns in (0, int(row[0]))


def parse(noted: str | None) -> list[Cut]:
    """Cuts from their text."""
    return [Cut(**one) for one in json.loads(noted or "[]")]


def text(found: list[Cut]) -> str:
    """Cuts as text."""
    return json.dumps([asdict(one) for one in found])
