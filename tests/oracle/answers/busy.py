"""A busy site: one random act after the other, of sensors, gateways and people.

Owns what may happen and how often. What the registry refuses is part of being busy: nothing is known of it.
Must not know what is asked.
"""

from __future__ import annotations

import datetime as dt
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

import httpx

from collector.access.rights import Role
from gateway.contract import codec
from gateway.contract.events import EVENT_METRIC, Scan, event_text
from gateway.contract.reading import Kind, Quality, Reading, block_of
from tests.apis import Api
from tests.gateways import T0_MS, Made, metric, numbers

EQUIPMENT: Final = {"FRZ-01": "freezer", "FRZ-02": "freezer", "INC-01": "incubator"}
POINTS: Final = {
    "FRZ-01": ("temperature", 1, -20.0),
    "FRZ-02": ("temperature", 11, -20.0),
    "INC-01": ("temperature", 21, 37.0),
}
BATCHES: Final = ("B-1", "B-2", "B-3", "B-4")
PROFILE: Final = {
    "id": "car-t",
    "legs": [
        {
            "name": "frozen",
            "equipment_kinds": ["freezer"],
            "required": [
                {"parameter": "temperature", "high": -15.0, "uncertainty": 0.3, "coverage_min": 0.9}
            ],
        }
    ],
    "budgets": [{"id": "warm", "parameter": "temperature", "high": -15.0, "max_total_s": 600}],
}


class Busy:
    """The site, its people, and what is on its way."""

    def __init__(self, api: Api, seed: int) -> None:
        self.api, self.draw = api, random.Random(seed)
        self.done: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self._late: list[Made] = []
        self._until_s = dict.fromkeys(EQUIPMENT, 0)
        self._now_s = 0
        self._files = 0
        self._scans = 0

    async def begin(self) -> None:
        """Births, identities, rules, people."""
        self.robot = self.api.program()
        self.anna = await self.api.person("anna", Role.SUPERVISOR)
        self.quinn = await self.api.person("quinn", Role.QA)
        await self.api.take(self.api.gateway.nbirth())
        for device, (name, alias, _) in POINTS.items():
            await self.api.take(self.api.gateway.dbirth(device, [metric(name, alias)]))
        for name, kind in EQUIPMENT.items():
            await self._post("equipment", "/equipment", {"name": name, "kind": kind})
            point = f"zurich/gw-1/{name}/temperature"
            link = {"role": "point-equipment", "subject": point, "object": name, "from": self._time(0)}
            await self._post("link", "/links", {**link, "reason": "fitted"})
            limits = {"high": -15.0} if kind == "freezer" else {"high": 38.0, "low": 36.0}
            rule = {"id": f"rule:{name.lower()}", "point": point, "delay_s": 20, "hysteresis": 0.5}
            await self._post("rule", "/rules", {**rule, **limits})
        await self._post("profile", "/product-profiles", PROFILE)
        for number in BATCHES:
            profile = {"product_profile": "car-t@1"} if number in {"B-1", "B-3"} else {}
            await self._post("batch", "/batches", {"issuer": "site", "number": number, **profile})

    async def act(self) -> str:
        """One thing that happens; its name."""
        ways: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            *((12, self.feel), (2, self.late), (1, self.damaged), (1, self.twice), (1, self.born_again)),
            *((3, self.put_in), (2, self.take_out), (1, self.scan), (2, self.correct), (1, self.decide)),
            *((1, self.rule), (1, self.split), (1, self.file), (1, self.handle)),
        ]
        (way,) = self.draw.choices([one for _, one in ways], [weight for weight, _ in ways])
        step_s = self.draw.randrange(5, 90)
        self._now_s += step_s
        self.api.clock.ns = max(self.api.clock.ns, (T0_MS + self._now_s * 1000) * 1_000_000)
        await way()
        self.done[way.__name__] += 1
        return way.__name__

    # --- sensors and gateways -------------------------------------------------------------------------

    async def feel(self) -> None:
        """Readings of a point up to now; some are kept back, and a few slots never come."""
        device = self.draw.choice(list(POINTS))
        _, alias, level = POINTS[device]
        start_s = self._until_s[device] + self.draw.choice([0, 0, 0, 0, 25])
        n = self._now_s - start_s
        if n <= 0:
            return
        warm = self.draw.choice([0.0, 0.0, 0.0, 2.0, 8.0])
        values = [round(level + warm + self.draw.gauss(0, 0.3), 2) for _ in range(n)]
        readings = numbers(alias, T0_MS + start_s * 1000, values)
        readings = [self._doubted(one) for one in readings if self.draw.random() > 0.01]
        self._until_s[device] = self._now_s
        if not readings:
            return
        made = self.api.gateway.make(device, readings)
        if self.draw.random() < 0.2:
            self._late.append(made)
        else:
            await self.api.take(self.api.gateway.data(made))

    def _doubted(self, one: Reading) -> Reading:
        if self.draw.random() > 0.02:
            return one
        return Reading(one.time_ms, one.kind, None, one.key, quality=Quality.BAD, reason="timeout")

    async def late(self) -> None:
        """What was kept back."""
        if self._late:
            made = self._late.pop(self.draw.randrange(len(self._late)))
            await self.api.take(self.api.gateway.data(made, historical=True))

    async def damaged(self) -> None:
        """Content that is not what its digest says: found wrong when the true one comes."""
        gateway = self.api.gateway
        device = self.draw.choice(list(POINTS))
        alias = POINTS[device][1]
        made = gateway.make(device, numbers(alias, T0_MS + self._now_s * 1000, [POINTS[device][2]] * 10))
        wrong = codec.encode_body(
            segment=made.identity,
            clock="boot-1 1 1 true -",
            block=block_of(numbers(alias, T0_MS + self._now_s * 1000, [50.0] * 10)),
            time_ms=T0_MS,
        )
        topic, _ = gateway.data(made)
        await self.api.take((topic, codec.seal(wrong, sent_ms=T0_MS, seq=1, historical=False)))
        self._late.append(made)

    async def twice(self) -> None:
        """A segment that is here already."""
        if self.api.gateway.made:
            await self.api.take(
                self.api.gateway.data(self.draw.choice(self.api.gateway.made), historical=True)
            )

    async def born_again(self) -> None:
        """A device that from now on works with another period."""
        device, (name, alias, _) = self.draw.choice(list(POINTS.items()))
        born = metric(name, alias, period_ms=self.draw.choice([1000, 1000, 2000, 5000]))
        await self.api.take(self.api.gateway.dbirth(device, [born]))

    async def scan(self) -> None:
        """An act at a gateway's door."""
        self._scans += 1
        event = Scan(
            id=f"scan-{self._scans}",
            time=dt.datetime.fromtimestamp(T0_MS / 1000 + self._now_s - 3, dt.UTC),
            actor="badge-7",
            act=self.draw.choice(["put_in", "take_out"]),
            batch=self.draw.choice(BATCHES),
            equipment=self.draw.choice([*EQUIPMENT, "???"]),
        )
        told = Reading(T0_MS + self._now_s * 1000, Kind.STRING, event_text(event), 0, EVENT_METRIC)
        await self.api.take(self.api.gateway.data(self.api.gateway.make("-", [told])))

    # --- people ---------------------------------------------------------------------------------------

    async def put_in(self) -> None:
        """A stay, often stated later than it began."""
        link = {
            "role": "batch-equipment",
            "subject": self.draw.choice(BATCHES),
            "object": self.draw.choice(list(EQUIPMENT)),
            "from": self._some_time(),
            "to": self.draw.choice([None, self._time(self._now_s)]),
            "reason": "from the book",
        }
        await self._post("link", "/links", link)

    async def take_out(self) -> None:
        """An act posted by hand."""
        act = {
            "act": "take_out",
            "batch": self.draw.choice(BATCHES),
            "equipment": self.draw.choice(list(EQUIPMENT)),
        }
        await self._post("event", "/events", {**act, "time": self._some_time()})

    async def correct(self) -> None:
        """A link that was otherwise."""
        link = await self._a_link()
        if link:
            body = {"from": self._some_time(), "reason": "the log says otherwise"}
            if self.draw.random() < 0.3:
                body = {"to": self._time(self._now_s), "reason": "taken out"}
            await self._post("correction", f"/links/{link}/correction", body)

    async def decide(self) -> None:
        """A link confirmed or rejected by another person."""
        link = await self._a_link()
        if link:
            what = self.draw.choice(["confirmation", "confirmation", "rejection"])
            await self._post(what, f"/links/{link}/{what}", {"reason": "seen"}, by=self.anna)

    async def rule(self) -> None:
        """A new version of a rule."""
        name, kind = self.draw.choice(list(EQUIPMENT.items()))
        point = f"zurich/gw-1/{name}/temperature"
        level = -15.0 if kind == "freezer" else 38.0
        rule = {
            "id": f"rule:{name.lower()}",
            "point": point,
            "high": level + self.draw.choice([-3.0, -1.0, 0.0, 1.0]),
            "delay_s": self.draw.choice([0, 20, 60]),
            "hysteresis": self.draw.choice([0.0, 0.5]),
            "crossing": self.draw.choice(["conservative", "linear", "locf"]),
            "uncertainty": self.draw.choice([None, 0.4]),
        }
        await self._post("rule", "/rules", rule)

    async def split(self) -> None:
        """One batch taken from another."""
        child, parent = self.draw.sample(BATCHES, 2)
        link = {"role": "batch-parent", "subject": child, "object": parent, "from": self._some_time()}
        await self._post("split", "/links", {**link, "reason": "split"})

    async def file(self) -> None:
        """A logger's file, and the logger linked to equipment."""
        self._files += 1
        times = [self._time(self._now_s - 600 + at * 60)[:19].replace("T", " ") for at in range(10)]
        rows = [f"{time},{round(self.draw.gauss(-19, 3), 1)}" for time in times]
        logger = f"TL-{self._files}"
        content = f"Serial number: {logger}\nDate,Temperature (°C)\n" + "\n".join(rows) + "\n"
        said = {"zone": "UTC", "name": f"{logger}.csv"}
        self._count("import", await self.robot.post("/imports", content=content.encode(), params=said))
        link = {
            "role": "point-equipment",
            "subject": f"import/{logger}/logger/Temperature",
            "object": self.draw.choice(list(EQUIPMENT)),
            "from": self._time(self._now_s - 600),
            "to": self._time(self._now_s),
            "reason": "was with it",
        }
        await self._post("link", "/links", link)

    async def handle(self) -> None:
        """An exception gets an owner, or is resolved."""
        items = (await self.robot.get("/exceptions")).json()["items"]
        if not items:
            return
        path = f"/exceptions/{self.draw.choice(items)['id']}"
        if self.draw.random() < 0.5:
            await self._post("assignment", f"{path}/assignment", {"owner": "quinn"})
        else:
            body = {"disposition": "accepted", "deviation": "DEV-1", "reason": "assessed"}
            await self._post("resolution", f"{path}/resolution", {"resolution": body}, by=self.quinn)

    # --- parts ----------------------------------------------------------------------------------------

    async def _a_link(self) -> str:
        items = (await self.robot.get("/links")).json()["items"]
        return str(self.draw.choice(items)["id"]) if items else ""

    def _time(self, at_s: float) -> str:
        return dt.datetime.fromtimestamp(T0_MS / 1000 + at_s, dt.UTC).isoformat().replace("+00:00", "Z")

    def _some_time(self) -> str:
        return self._time(self.draw.randrange(max(0, self._now_s - 1500), self._now_s + 1))

    async def _post(self, what: str, path: str, body: object, *, by: httpx.AsyncClient | None = None) -> None:
        self._count(what, await (by or self.robot).post(path, json=body))

    def _count(self, what: str, answer: httpx.Response) -> None:
        assert answer.status_code < 500, answer.text
        if answer.status_code >= 400:
            self.refused[what] += 1
