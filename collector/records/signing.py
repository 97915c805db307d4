"""Signatures on a batch's answer: what was signed stays, and what is known since then is compared with it.

Owns the canonical bytes of an answer, the comparison of substance, and the exceptions that follow: a later
answer that differs shows the record as unsigned-changed, the same position that derives otherwise is a drift
of the software. Pure. Must not know passwords, nor where answers are kept. Source: 21 CFR 11.50, 11.70;
Annex 11 draft 13 (a later change shows the record as unsigned).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from collector.identity.exceptions.handling import handled, handlings_of
from collector.identity.exceptions.model import ExceptionItem, ExceptionKind, exception, worst_first
from collector.identity.facts import Facts
from collector.identity.resolve import Resolver
from collector.identity.rows import JournalRow, RowKind
from collector.identity.times import utc_text

Document = dict[str, Any]
SUBSTANCE: Final = (
    *("batch", "legs", "coverage", "excursions", "budgets", "mkt", "calibration", "custody", "clocks"),
    *("exceptions", "not_kept"),
)
"""What a signature stands for; `known` and `versions` say how the answer came about."""
CHANGES_SHOWN: Final = 40


class Meaning(StrEnum):
    """What a person says by signing (21 CFR 11.50)."""

    PERFORMED = "performed"
    REVIEW = "review"
    APPROVAL = "approval"
    RELEASE = "release"
    REJECTION = "rejection"


class RecordState(StrEnum):
    """Of a batch's record, as known at a position."""

    UNSIGNED = "unsigned"
    SIGNED = "signed"
    UNSIGNED_CHANGED = "unsigned_changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """One signature, and the answer that it binds."""

    id: str
    batch: str
    meaning: Meaning
    user: str
    role: str
    known_ns: int
    zone: str
    position: str
    sha256: str
    software: str
    answer: bytes

    def document(self) -> Document:
        """The manifestation: name, role, meaning, time with its zone, and what is bound."""
        return {
            "id": self.id,
            "batch": self.batch,
            "meaning": self.meaning.value,
            "user": self.user,
            "role": self.role,
            "time": utc_text(self.known_ns),
            "timezone": self.zone,
            "position": self.position,
            "sha256": self.sha256,
            "software": self.software,
        }


def canonical_answer(document: Mapping[str, Any]) -> bytes:
    """The bytes that are signed: sorted keys, no spaces, UTF-8. ValueError for NaN."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def signatures_of(rows: Iterable[JournalRow], answer: Callable[[str], bytes | None]) -> list[Signed]:
    """Rows of kind `signature` with what they bind, in known order.

    An answer that is missing, or whose bytes have another hash, is an empty one: everything has changed.
    """
    out = []
    for row in rows:
        if row.kind != RowKind.SIGNATURE:
            continue
        body = row.body
        found = answer(body["sha256"]) or b""
        whole = hashlib.sha256(found).hexdigest() == body["sha256"]
        out.append(
            Signed(
                id=f"signature:{row.id}",
                batch=row.subject,
                meaning=Meaning(body["meaning"]),
                user=row.actor,
                role=str(body["role"]),
                known_ns=row.known_at_ns,
                zone=str(body.get("timezone", "UTC")),
                position=str(body["position"]),
                sha256=str(body["sha256"]),
                software=str(body["software"]),
                answer=found if whole else b"{}",
            )
        )
    return out


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs in substance, a line each; empty when nothing does."""
    out: list[str] = []
    for section in SUBSTANCE:
        one, other = _comparable(before.get(section)), _comparable(now.get(section))
        if one == other:
            continue
        if isinstance(one, list) and isinstance(other, list):
            out += _changed_items(section, one, other)
        elif isinstance(one, dict) and isinstance(other, dict):
            out += [
                f"{section}.{key}: {_short(one.get(key))} is now {_short(other.get(key))}"
                for key in sorted(one.keys() | other.keys())
                if one.get(key) != other.get(key)
            ]
        else:
            out.append(f"{section}: {_short(one)} is now {_short(other)}")
    return out


def _comparable(value: Any) -> Any:
    """Through JSON, as the signed one went; findings about signatures themselves left out."""
    if isinstance(value, list):
        own = {ExceptionKind.CHANGED_AFTER_SIGNING.value, ExceptionKind.SOFTWARE_DRIFT.value}
        value = [one for one in value if not (isinstance(one, dict) and one.get("kind") in own)]
    return json.loads(json.dumps(value))


def _changed_items(section: str, one: list[Any], other: list[Any]) -> list[str]:
    before, now = _named(one), _named(other)
    lines = [f"{section}: {name} is new" for name in now if name not in before]
    lines += [f"{section}: {name} is no more" for name in before if name not in now]
    for name in before.keys() & now.keys():
        if before[name] != now[name]:
            keys = sorted(
                key
                for key in before[name].keys() | now[name].keys()
                if before[name].get(key) != now[name].get(key)
            )
            lines.append(f"{section}: {name} has other {', '.join(keys)}")
    return sorted(lines) or [f"{section}: in another order"]


def _named(items: list[Any]) -> dict[str, Document]:
    out: dict[str, Document] = {}
    for at, item in enumerate(items):
        body = item if isinstance(item, dict) else {"value": item}
        name = str(body.get("id") or f"{body.get('equipment', section_name(body))} {body.get('from', at)}")
        kind = f"{body['kind']} " if "kind" in body else ""
        out[kind + name] = body
    return out


def section_name(body: Mapping[str, Any]) -> str:
    """What an item without an id is called."""
    return str(body.get("point") or body.get("node") or body.get("value") or "entry")


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}…"


def standing(signed: Sequence[Signed], batch: str) -> list[Signed]:
    """The last signature of each meaning: a new one stands in for those before."""
    last = {one.meaning: one for one in signed if one.batch == batch}
    return sorted(last.values(), key=lambda one: one.known_ns)


def performers(facts: Facts, batch: str) -> list[str]:
    """Who put it, took it, linked it: a reviewer is none of them."""
    legs = Resolver(facts).legs(batch)
    return sorted(
        {facts.links[link].versions[0].actor for leg in legs for link in leg.links if link in facts.links}
    )


def recorded(
    history: Document, facts: Facts, signed: Sequence[Signed], *, drifted: Collection[str] = ()
) -> tuple[Document, list[ExceptionItem]]:
    """A history with its `record`, and the exceptions that its signatures bring.

    `drifted`: ids of signatures whose own position derives otherwise today.
    """
    batch = str(history["batch"]["id"])
    stand = standing(signed, batch)
    found: list[ExceptionItem] = []
    changed: dict[str, list[str]] = {}
    for one in stand:
        lines = changes(json.loads(one.answer), history)
        if lines:
            changed[one.id] = lines
            found.append(_changed(batch, one, lines))
        if one.id in drifted:
            found.append(_drifted(batch, one))
    handlings = handlings_of(facts.decisions)
    items = [handled(item, handlings) for item in found]
    state = RecordState.UNSIGNED if not stand else RecordState.SIGNED
    documents = [one.document() for one in worst_first(items)]
    document = {
        **history,
        "exceptions": _merged(history["exceptions"], documents),
        "record": {
            "state": (RecordState.UNSIGNED_CHANGED if changed else state).value,
            "performers": performers(facts, batch),
            "signatures": [
                {**one.document(), "standing": one in stand, "changed": changed.get(one.id, [])}
                for one in signed
                if one.batch == batch
            ],
        },
    }
    return document, items


def _merged(before: list[Document], more: list[Document]) -> list[Document]:
    rank = {kind.value: at for at, kind in enumerate(ExceptionKind)}
    return sorted(
        [*before, *more],
        key=lambda one: (one["state"] != "open", rank[one["kind"]], one["opened"], one["id"]),
    )


def _changed(batch: str, one: Signed, lines: list[str]) -> ExceptionItem:
    return exception(
        ExceptionKind.CHANGED_AFTER_SIGNING,
        batch,
        about=(one.id,),
        evidence=(
            one.id,
            f"{one.meaning.value} by {one.user} at {utc_text(one.known_ns)} of {one.position}, {one.sha256}",
            *lines[:CHANGES_SHOWN],
        ),
        opened_ns=one.known_ns,
        suggested="Assess whether what was released must be recalled; then review and sign again.",
    )


def _drifted(batch: str, one: Signed) -> ExceptionItem:
    return exception(
        ExceptionKind.SOFTWARE_DRIFT,
        batch,
        about=(one.id,),
        evidence=(one.id, f"{one.position} derives otherwise than {one.software} did: {one.sha256}"),
        opened_ns=one.known_ns,
        suggested="The signed answer stands as it is kept; find out which release changed the rules.",
    )


def has_drifted(one: Signed, derived: Mapping[str, Any]) -> bool:
    """Whether its position derives otherwise in substance; another version alone is none."""
    return bool(changes(json.loads(one.answer), derived))
