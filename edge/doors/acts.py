"""What the scan page may send, and the event that it becomes.

Owns the request, its checks and its sentence for people. Pure: the gateway's time is given. Must not
know HTTP, the book or the outbox.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Final, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from gateway.contract.events import DoorAct, ManualReading, Scan

DOOR: Final = "scan-page"
AGE_MS_MAX: Final = 30 * 24 * 3600 * 1000
"""A phone that was away for longer than a month has another story to tell."""
AHEAD: Final = timedelta(minutes=5)
"""How far the clock on which a person read a time may be ahead of the gateway's."""
Short = Annotated[str, Field(max_length=200)]


class Act(BaseModel):
    """One act as the page sends it: `id` is made there, before the first attempt.

    `age_ms`: how long ago it was entered, by the phone's own clock; so its setting does not matter.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    kind: Literal["scan", "manual_reading"] = "scan"
    act: DoorAct | None = None
    batch: Short = ""
    label: Literal["read", "unreadable"] = "read"
    equipment: Annotated[str, Field(min_length=1, max_length=200)]
    party: Short = ""
    quantity: Short = ""
    value: float | None = None
    unit: Annotated[str, Field(max_length=50)] = ""
    effective: AwareDatetime | None = None
    age_ms: Annotated[int, Field(ge=0, le=AGE_MS_MAX)] = 0
    badge: Annotated[str, Field(min_length=1, max_length=200)]
    note: Annotated[str, Field(max_length=1000)] = ""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.kind == "scan" and (self.act is None or not self.batch):
            msg = "a scan needs an act and a batch"
            raise ValueError(msg)
        if self.kind == "manual_reading" and (self.value is None or not self.unit):
            msg = "a reading needs a value and its unit"
            raise ValueError(msg)
        return self

    def event(self, *, now: datetime, actor: str) -> Scan | ManualReading:
        """The event, entered `age_ms` before now. ValueError for an act that is yet to come."""
        time = now - timedelta(milliseconds=self.age_ms)
        effective = self.effective
        if effective is not None and effective > time + AHEAD:
            msg = "the time given has not come yet"
            raise ValueError(msg)
        if effective is not None and effective >= time:
            effective = None  # "now", read from a clock that is a little ahead
        if self.kind == "manual_reading":
            assert self.value is not None, "checked above"
            return ManualReading(
                id=self.id,
                time=time,
                actor=actor,
                note=self.note,
                equipment=self.equipment,
                quantity=self.quantity,
                value=self.value,
                unit=self.unit,
                batch=self.batch,
                effective=effective,
                door=DOOR,
            )
        assert self.act is not None, "checked above"
        return Scan(
            id=self.id,
            time=time,
            actor=actor,
            note=self.note,
            act=self.act,
            batch=self.batch,
            equipment=self.equipment,
            effective=effective,
            label=self.label,
            party=self.party,
            door=DOOR,
        )


_WORDS: Final = {
    "put_in": "put into",
    "take_out": "taken out of",
    "move": "moved to",
    "receive": "received at",
    "hand_over": "handed over at",
}


def sentence(event: Scan | ManualReading) -> str:
    """What was recorded, for people."""
    if isinstance(event, ManualReading):
        what = f"{event.value:g} {event.unit} read at {event.equipment}"
    else:
        what = f"{event.batch} {_WORDS[event.act]} {event.equipment}"
        if event.party:
            what += f" ({event.party})"
    when = f" at {event.effective:%Y-%m-%d %H:%M} UTC, entered later" if event.effective else ""
    return f"{what}{when}, by {event.actor}"
