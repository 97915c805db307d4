"""The demo's story told by its own answers: a late scan is confirmed, a hand move is told hours later.

Owns the order of the telling, what must be true at each position, and the sentences. A client of the
collector and of a gateway's scan page like any other; must not import either. What was answered at a
position is asked again at the end and must come back the same.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import secrets
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote
from zoneinfo import ZoneInfo

import httpx

from deploy.answers import CommandError, Exit
from deploy.demo import story

ARRIVES_S: Final = 30.0
"""From the scan page over outbox, broker and ledger into an answer: two flush intervals on a busy machine."""
MOVED_TO: Final = "INC-01"
ZONE: Final = ZoneInfo("Europe/Zurich")
Document = dict[str, Any]


@dataclass(slots=True)
class Told:
    """What was said, and what of it was not as it must be."""

    lines: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def say(self, line: str) -> None:
        """One line of the story, as it happens."""
        self.lines.append(line)
        print(line, flush=True)

    def check(self, what: str, *, holds: bool) -> None:
        """Something that must be true here."""
        self.say(f"   {'ok ' if holds else 'NOT'} {what}")
        if not holds:
            self.wrong.append(what)


@dataclass(frozen=True, slots=True)
class Hours:
    """When it was moved and when that was entered: 3 and 8 o'clock if the history reaches back so far."""

    moved: dt.datetime
    entered: dt.datetime

    @classmethod
    def of(cls, told: story.Story, now: dt.datetime) -> Hours:
        """By the site's clock on the wall."""
        local = now.astimezone(ZONE)
        entered = local.replace(hour=8, minute=0, second=0, microsecond=0)
        if entered > local:
            entered -= dt.timedelta(days=1)
        moved = entered.replace(hour=3)
        if moved > told.time(story.PUT_IN_SECOND) + dt.timedelta(minutes=1):
            return cls(moved, entered)
        return cls(told.time(0.5), now)


class Teller:
    """Tells it once; `people` are made for it, for confirming takes two."""

    def __init__(self, *, url: str, password: str, scan_page: str, told: story.Story) -> None:
        self._url = url
        self._password = password
        self._scan_page = scan_page
        self._story = told
        self._seen: list[tuple[str, str, str]] = []
        """(batch, position, answer), to be asked again."""
        self.told = Told()

    async def tell(self) -> int:
        """Exit 0 when everything was as it must be, else 1."""
        async with AsyncExitStack() as stack:
            admin, anna, ben = [await stack.enter_async_context(self._client()) for _ in range(3)]
            await self._sign_in(admin, "admin", self._password)
            await self._person(admin, anna, "anna", "supervisor")
            await self._person(admin, ben, "ben", "qa")
            await self._late_scan(ben)
            await self._hand_move(anna, ben)
            await self._asked_again(ben)
        self.told.say(f"\n{len(self.told.wrong)} things were not as they must be.")
        return int(Exit.FINDING if self.told.wrong else Exit.FINE)

    async def _late_scan(self, ben: httpx.AsyncClient) -> None:
        say, check = self.told.say, self.told.check
        say(f"\n1. {story.FIRST_BATCH}: somebody scanned late that it went into the freezer")
        before = await self._history(ben, story.FIRST_BATCH)
        self._show(before)
        leg = _leg(before, "FRZ-01")
        check("the stay in FRZ-01 counts, provisionally", holds=leg["state"] == "provisional")
        check("its late scan is open", holds=_late(before) == ["open"])
        (link,) = leg["links"]
        say(f"   ben confirms {link}")
        _fine(await ben.post(f"links/{quote(link, safe='')}/confirmation", json={"reason": "freezer log"}))
        after = await self._history(ben, story.FIRST_BATCH)
        self._show(after)
        check("now it is confirmed", holds=_leg(after, "FRZ-01")["state"] == "confirmed")
        check("and the late scan is resolved", holds=_late(after) == ["resolved"])

    async def _hand_move(self, anna: httpx.AsyncClient, ben: httpx.AsyncClient) -> None:
        say, check = self.told.say, self.told.check
        hours = Hours.of(self._story, dt.datetime.now(dt.UTC))
        say(
            f"\n2. {story.SECOND_BATCH}: moved by hand to {MOVED_TO} at {_clock(hours.moved)},"
            f" entered at {_clock(hours.entered)}"
        )
        unmoved = await self._history(ben, story.SECOND_BATCH)
        self._show(unmoved)
        event_id = await self._enter(hours)
        moved = await self._arrived(ben, event_id)
        self._show(moved)
        event = await self._event(ben, event_id)
        happened, recorded = (dt.datetime.fromisoformat(event[key]) for key in ("effective", "time"))
        say(f"   happened {_clock(happened)}, recorded {_clock(recorded)}, known {event['known']}")
        check("it happened when it was said to have", holds=abs(happened - hours.moved) < _SECOND)
        check("and was recorded when it was entered", holds=abs(recorded - hours.entered) < 60 * _SECOND)
        leg = _leg(moved, MOVED_TO)
        check("the move counts since it happened, provisionally", holds=leg["state"] == "provisional")
        check("the stay before it ends there", holds=_leg(moved, "BR-02")["to"] == leg["from"])
        check("it is an exception until somebody looks", holds=_late(moved) == ["open"])
        where = f"links/{quote(f'link:scan-{event_id}', safe='')}/confirmation"
        own = await anna.post(where, json={"reason": "I did it"})
        check("anna, who moved it, may not confirm it", holds=own.status_code == httpx.codes.FORBIDDEN)
        _fine(await ben.post(where, json={"reason": "seen on the camera"}))
        confirmed = await self._history(ben, story.SECOND_BATCH)
        self._show(confirmed)
        check("ben may: it is confirmed", holds=_leg(confirmed, MOVED_TO)["state"] == "confirmed")
        check("and the exception is resolved", holds=_late(confirmed) == ["resolved"])

    async def _asked_again(self, ben: httpx.AsyncClient) -> None:
        self.told.say("\n3. What was known then is asked again")
        for batch, token, answer in self._seen:
            path = f"batches/{batch}/history"
            again = await ben.get(path, params={"as_known_at": token})
            self.told.check(f"{batch} at {token}: the same bytes", holds=again.text == answer)

    # --- asking and entering ----------------------------------------------------------------------

    async def _history(self, client: httpx.AsyncClient, batch: str) -> Document:
        answer = _fine(await client.get(f"batches/{batch}/history"))
        found: Document = answer.json()
        self._seen.append((batch, found["known"]["token"], answer.text))
        return found

    async def _enter(self, hours: Hours) -> str:
        """On the scan page, as its script would: the phone was without network since the entry."""
        event_id = secrets.token_hex(16)
        age = dt.datetime.now(dt.UTC) - hours.entered
        act = {
            "id": event_id,
            "kind": "scan",
            "act": "move",
            "batch": story.SECOND_BATCH,
            "equipment": MOVED_TO,
            "badge": "anna",
            "note": "already moved it",
            "effective": hours.moved.isoformat(),
            "age_ms": max(0, round(age.total_seconds() * 1000)),
        }
        async with httpx.AsyncClient(base_url=self._scan_page, timeout=30, trust_env=False) as page:
            answer = _fine(await page.post("/api/acts", json=act))
        self.told.say(f"   the gateway's page: {answer.json()['sentence']}")
        return event_id

    async def _arrived(self, client: httpx.AsyncClient, event_id: str) -> Document:
        """The history once the act has come through; only that answer is kept."""
        try:
            async with asyncio.timeout(ARRIVES_S):
                while True:
                    held = len(self._seen)
                    found = await self._history(client, story.SECOND_BATCH)
                    if any(f"link:scan-{event_id}" in leg["links"] for leg in found["legs"]):
                        return found
                    del self._seen[held:]
                    await asyncio.sleep(0.2)
        except TimeoutError:
            problem = f"the act did not reach the collector within {ARRIVES_S:.0f} s"
            raise CommandError(problem, code=Exit.UNREACHABLE) from None

    async def _event(self, client: httpx.AsyncClient, event_id: str) -> Document:
        items = _fine(await client.get("events", params={"kind": "scan", "limit": 500})).json()["items"]
        found: Document = next(one for one in items if one["id"] == f"event:{event_id}")
        return found

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=f"{self._url}/api/v1/", timeout=60, trust_env=False)

    async def _person(
        self, admin: httpx.AsyncClient, client: httpx.AsyncClient, name: str, role: str
    ) -> None:
        """A new account, signed in."""
        user = {"name": name, "role": role, "reason": "tells the story"}
        made = _fine(await admin.post("users", json={"user": user})).json()
        await self._sign_in(client, name, made["password"])

    async def _sign_in(self, client: httpx.AsyncClient, user: str, password: str) -> None:
        _fine(await client.post("session", json={"session": {"user": user, "password": password}}))

    def _show(self, history: Document) -> None:
        self.told.say(f"   at {history['known']['token']}:")
        for leg in history["legs"]:
            until = "still" if leg["to"] is None else f"to {leg['to'][:16]}"
            place = leg["equipment"].removeprefix("equipment:")
            self.told.say(f"     {place}  from {leg['from'][:16]} {until}  {leg['state']}")


_SECOND: Final = dt.timedelta(seconds=1)


def _leg(history: Document, equipment: str) -> Document:
    found: Document = next(leg for leg in history["legs"] if leg["equipment"] == f"equipment:{equipment}")
    return found


def _late(history: Document) -> list[str]:
    return [str(one["state"]) for one in history["exceptions"] if one["kind"] == "late_scan"]


def _clock(time: dt.datetime) -> str:
    return f"{time.astimezone(ZONE):%Y-%m-%d %H:%M %Z}"


def _fine(answer: httpx.Response) -> httpx.Response:
    if not answer.is_success:
        asked = f"{answer.request.method} {answer.request.url.path}"
        problem = f"{asked} was answered {answer.status_code}: {answer.text[:300]}"
        raise CommandError(problem, code=Exit.UNREACHABLE)
    return answer
