"""The demo as a client of its collector: master data in, figures out, over the documented HTTP API.

Owns the requests; must not import the collector. Times out and says which request failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final
from urllib.parse import quote

import httpx

from deploy.answers import CommandError, Exit
from deploy.demo import story
from deploy.demo.children import Children
from gateway.contract.reading import PointName

TIMEOUT_S: Final = 30.0
READY_S: Final = 50.0
PAGES_MAX: Final = 1000
_NOT_BUILT: Final = frozenset({404, 405, 501})

Document = dict[str, Any]


class Ask:
    """One client; close it."""

    def __init__(self, url: str, token: str) -> None:
        self._client = httpx.AsyncClient(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=TIMEOUT_S, trust_env=False
        )

    async def close(self) -> None:
        """Drop the connections."""
        await self._client.aclose()

    async def until_alive(self, children: Children) -> None:
        """Wait for /healthz; CommandError when the collector ends or stays silent."""
        try:
            async with asyncio.timeout(READY_S):
                while True:
                    children.require_alive()
                    try:
                        if (await self._client.get("/healthz")).is_success:
                            return
                    except httpx.TransportError:
                        pass
                    await asyncio.sleep(0.1)
        except TimeoutError:
            problem = f"the collector did not answer within {READY_S:.0f} s"
            raise CommandError(problem, hint=f"see {children.folder}", code=Exit.UNREACHABLE) from None

    async def get(self, path: str, **params: str) -> Document:
        """The document at `/api/v1/PATH`."""
        return _document(await self._client.get(f"/api/v1/{path}", params=params))

    async def get_or_none(self, path: str) -> Document | None:
        """The same, or None for what is not built yet or not there."""
        response = await self._client.get(f"/api/v1/{path}")
        return None if response.status_code in _NOT_BUILT else _document(response)

    async def post(self, path: str, body: Document) -> Document:
        """Create something."""
        return _document(await self._client.post(f"/api/v1/{path}", json=body))

    async def items(self, path: str) -> list[Document]:
        """All items of a list."""
        return [item async for item in self._pages(path)]

    async def _pages(self, path: str) -> AsyncIterator[Document]:
        params: dict[str, str] = {}
        for _ in range(PAGES_MAX):
            page = await self.get(path, **params)
            for item in page["items"]:
                yield item
            if not page.get("next"):
                return
            params = {"cursor": str(page["next"])}

    async def nodes(self) -> list[Document]:
        """Every epoch of every gateway."""
        return await self.items("nodes")

    async def until_story(self, told: story.Story) -> None:
        """Wait until every scan of the past has come; CommandError when one stays away."""
        wanted = {f"event:{scan.id}" for _, _, scan in told.scans()}
        try:
            async with asyncio.timeout(READY_S):
                while not wanted <= {str(one["id"]) for one in await self.items("events")}:  # noqa: ASYNC110
                    await asyncio.sleep(0.3)
        except TimeoutError:
            raise CommandError("the scans of the past did not arrive", code=Exit.UNREACHABLE) from None

    async def history(self, batch: str) -> Document | None:
        """One batch's history."""
        return await self.get_or_none(f"batches/{quote(batch, safe=':')}/history")

    async def operator_token(self) -> str | None:
        """A token with operator scope, or None when tokens cannot be made yet."""
        response = await self._client.post("/api/v1/tokens", json={"name": "demo", "scope": "operator"})
        return None if response.status_code in _NOT_BUILT else str(_document(response)["token"])

    async def register(self, told: story.Story, points: Iterable[PointName]) -> None:
        """Equipment, batches, limit rules, and since the origin each device's points on its equipment."""
        for equipment in story.equipment():
            await self.post("equipment", equipment)
        for batch in story.batches():
            await self.post("batches", batch)
        for limit in story.LIMITS:
            await self.post("rules", limit.document())
        since = told.time(0).isoformat()
        for point in points:
            link = {
                "role": "point-equipment",
                "subject": str(point),
                "object": f"equipment:{point.device}",
                "from": since,
                "source": "import",
                "reason": "the demo's own site plan",
            }
            await self.post("links", link)


def _document(response: httpx.Response) -> Document:
    if not response.is_success:
        asked = f"{response.request.method} {response.request.url.path}"
        problem = f"the collector refused {asked}: {response.status_code} {response.text[:500]}"
        raise CommandError(problem, code=Exit.UNREACHABLE)
    document = response.json()
    assert isinstance(document, dict), "the API answers in objects"
    return document
