"""Corrections of imports: the same bytes read in another way, or counted no more.

Owns the proposals, their checks, and what a confirmation commits: one entry that takes the old stream
back, and the new stream behind it. Nothing is rewritten: at older positions the file counts as it did
then. Nobody's word alone changes what readings say: another person confirms. Blocking.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from collector.identity.errors import ContradictionError, SecondPersonError, UnacceptableError
from collector.identity.rows import RowKind
from collector.imports import mapping as columns
from collector.imports.clock import Stamp
from collector.imports.desk import READ, Brought, ImportDesk, whole
from collector.imports.segments import withdrawal_draft
from collector.imports.versions import Import, Proposal, Wish, epoch_of
from collector.registry.commands import Registry
from collector.store.ledger import Ledger
from collector.store.ledger.entries import Draft
from gateway.contract.topics import IMPORT_GROUP

Text = Annotated[str, Field(max_length=200)]
Reason = Annotated[str, Field(min_length=1, max_length=2000)]


class CorrectionWish(BaseModel):
    """What was wrong about the reading of a file; what is left out stays as it is."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    reason: Reason
    logger: Text | None = None
    zone: Text | None = None
    format: Text | None = None
    mapping: columns.Mapping | None = None
    map: Text | None = None
    offset_s: Annotated[float, Field(ge=-1e9, le=1e9)] | None = None
    bound_s: Annotated[float, Field(ge=0, le=1e9)] | None = None
    stamps: Annotated[tuple[Stamp, ...], Field(max_length=100)] | None = None

    def said(self) -> dict[str, Any]:
        """What was given, for JSON."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude={"reason"})


class Corrections:
    """One at a time: the journal's writer is held."""

    def __init__(
        self, *, desk: ImportDesk, ledger: Ledger, registry: Registry, now_ns: Callable[[], int]
    ) -> None:
        self._desk = desk
        self._ledger = ledger
        self._registry = registry
        self._now_ns = now_ns

    def correct(self, actor: str, import_id: str, wish: CorrectionWish) -> Import:
        """Propose that the same file is read in another way."""
        with self._registry.journal.exclusive():
            one = self._free(import_id)
            brought = self._brought(one, wish.said())
            understood = self._desk.understand(brought)
            whole(brought, understood)
            if not understood.series:
                raise UnacceptableError(
                    what=f"{one.id} holds no readings",
                    why=understood.problem or "it is evidence",
                    next_step="Withdraw it, or import an export of the readings.",
                )
            document = self._desk.document(brought, understood)
            if not one.withdrawn and all(one.body.get(key) == document.get(key) for key in READ):
                raise ContradictionError(
                    what=f"{one.id} is read like that already",
                    why="nothing would change",
                    next_step="Give what was wrong: zone, offset, stamps, mapping or logger.",
                )
            body = {"wish": Wish.CORRECTION.value, "said": wish.said(), "document": document}
            return self._propose(actor, one, body, wish.reason)

    def withdraw(self, actor: str, import_id: str, reason: str) -> Import:
        """Propose that the file counts no more."""
        with self._registry.journal.exclusive():
            one = self._free(import_id)
            if one.withdrawn:
                raise ContradictionError(
                    what=f"{one.id} was withdrawn",
                    why=f"by {one.versions[-1].actor}",
                    next_step="A correction brings it back.",
                )
            return self._propose(actor, one, {"wish": Wish.WITHDRAWAL.value}, reason)

    def decide(self, actor: str, import_id: str, reason: str, *, confirm: bool) -> Import:
        """Confirm what was proposed, or reject it (with a reason); by another person."""
        with self._registry.journal.exclusive():
            one = self._desk.find(import_id)
            wish = one.proposal
            if wish is None:
                raise ContradictionError(
                    what=f"nothing is proposed for {one.id}",
                    why="there is nothing to decide",
                    next_step="See its versions with GET /imports/{id}.",
                )
            if wish.actor == actor:
                raise SecondPersonError(
                    what=f"the {wish.wish} of {one.id} was proposed by {actor}",
                    why="another person confirms or rejects",
                    next_step="Ask a colleague to look at it.",
                )
            if not confirm and not reason:
                raise UnacceptableError(
                    what=f"the {wish.wish} of {one.id} cannot be rejected without a reason",
                    why="whoever proposed it must learn what was wrong",
                    next_step="Say why in `reason`.",
                )
            if confirm:
                self._commit(one, actor)
            elif self._begun(one, wish):
                raise ContradictionError(
                    what=f"the {wish.wish} of {one.id} cannot be rejected any more",
                    why="a confirmation of it was cut short after it had changed what readings say",
                    next_step="Confirm it to complete that, then correct the file again.",
                )
            kind = RowKind.IMPORT_CONFIRMATION if confirm else RowKind.IMPORT_REJECTION
            self._registry.journal.append(
                kind=kind, subject=one.id, body={"proposal": wish.row}, actor=actor, reason=reason
            )
            return self._desk.find(one.id)

    def _commit(self, one: Import, actor: str) -> None:
        """Into the ledger, before the row; cut short in between, the same confirmation completes it."""
        wish = one.proposal
        assert wish is not None, "decided only when there is one"
        drafts: list[Draft] = []
        received_ns = self._now_ns()
        if not one.withdrawn and one.body["points"]:
            told = {"import": one.id, "wish": wish.wish.value, "by": wish.actor, "confirmed_by": actor}
            drafts.append(
                withdrawal_draft(
                    json.dumps({**told, "reason": wish.reason}, ensure_ascii=False).encode(),
                    logger=one.body["logger"],
                    epoch=one.epoch,
                    received_ns=received_ns,
                )
            )
        if wish.wish is Wish.CORRECTION:
            brought = self._brought(one, wish.said)
            drafts += self._desk.stream(
                brought,
                self._desk.understand(brought),
                version=one.versions[-1].number + 1,
                received_ns=received_ns,
            )
        if drafts:
            self._ledger.commit(drafts)

    def _begun(self, one: Import, wish: Proposal) -> bool:
        """Whether the ledger has already what was proposed, though no row says so."""
        if not one.withdrawn:
            return self._ledger.was_withdrawn(IMPORT_GROUP, one.body["logger"], one.epoch)
        if wish.document is None:
            return False
        epoch = epoch_of(one.sha256, one.versions[-1].number + 1)
        below = self._ledger.last_id() + 1
        return self._ledger.highest(IMPORT_GROUP, wish.document["logger"], epoch, below=below) is not None

    def _free(self, import_id: str) -> Import:
        one = self._desk.find(import_id)
        if one.proposal is not None:
            raise ContradictionError(
                what=f"a {one.proposal.wish} of {one.id} is proposed already",
                why=f"by {one.proposal.actor}: {one.proposal.reason}",
                next_step="Another person confirms or rejects that first.",
            )
        return one

    def _propose(self, actor: str, one: Import, body: Mapping[str, Any], reason: str) -> Import:
        self._registry.journal.append(
            kind=RowKind.IMPORT_PROPOSAL, subject=one.id, body=body, actor=actor, reason=reason
        )
        return self._desk.find(one.id)

    def _brought(self, one: Import, said: Mapping[str, Any]) -> Brought:
        _, content = self._desk.file(one.id)
        return brought_of(one.body, content, said)


def brought_of(body: Mapping[str, Any], content: bytes, said: Mapping[str, Any] = {}) -> Brought:
    """A file as it was read, with what is said otherwise now."""
    told = {**_kept(body), **{key: value for key, value in said.items() if value is not None}}
    if "stamps" in said and "offset_s" not in said:
        told["offset_s"] = 0.0
    if said.get("offset_s") is not None and "stamps" not in said:
        told["stamps"] = ()
    if "map" in said and "mapping" not in said:
        told["mapping"] = None
    mapping = told.get("mapping")
    return Brought(
        content=content,
        name=str(body["name"]),
        logger=told.get("logger") or "",
        map_name=told.get("map") or "",
        mapping=None if mapping is None else columns.Mapping.model_validate(mapping),
        zone=told.get("zone") or "",
        format=told.get("format") or "",
        offset_s=float(told.get("offset_s") or 0.0),
        bound_s=told.get("bound_s"),
        stamps=tuple(Stamp.model_validate(stamp) for stamp in told.get("stamps") or ()),
        subject=str(body.get("subject") or ""),
    )


_STAYS: Final = ("logger", "map", "zone", "format", "offset_s", "bound_s", "mapping")


def _kept(body: Mapping[str, Any]) -> dict[str, Any]:
    stamps = (body.get("clock") or {}).get("stamps", ())
    bare = [{key: stamp[key] for key in ("logger", "true")} for stamp in stamps]
    return {**{key: body.get(key) for key in _STAYS}, "stamps": bare}
