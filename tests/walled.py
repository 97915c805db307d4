"""The shipped mosquitto files on a free port: their paths replaced by a test's folder, nothing else.

Makes the authority and a certificate for whoever is asked for.
"""

from __future__ import annotations

import asyncio
from functools import cache
from pathlib import Path
from typing import Final

from deploy.mosquitto.acl import Clients, acl_text
from deploy.mosquitto.authority import Pair, Use, issue, make_authority
from gateway.link.broker import Broker
from gateway.link.client import Heard, Link, Will
from tests.brokers import Mosquitto, free_port

SHIPPED: Final = Path(__file__).parents[1] / "deploy/mosquitto"


class Walled(Mosquitto):
    """A broker with the shipped configuration: TLS, client certificates, acl."""

    def __init__(self, folder: Path, clients: Clients) -> None:
        self.port = free_port()
        self._process = None
        self.folder = folder
        self.authority = make_authority(folder / "certs")
        issue(
            self.authority,
            folder / "certs",
            stem="broker",
            name="broker",
            use=Use.SERVER,
            addresses=["127.0.0.1"],
        )
        (folder / "acl").write_text(acl_text(clients), encoding="utf-8")
        text = (SHIPPED / "mosquitto.conf").read_text(encoding="utf-8")
        text = text.replace("listener 8883\n", f"listener {self.port} 127.0.0.1\n")
        text = text.replace("/etc/mosquitto/", f"{folder}/").replace("/var/lib/mosquitto/", f"{folder}/")
        self._conf = folder / "mosquitto.conf"
        self._conf.write_text(f"user root\n{text}", encoding="utf-8")
        self._pairs = cache(self._issue)

    @property
    def url(self) -> str:
        """As configuration files spell it."""
        return f"mqtts://127.0.0.1:{self.port}"

    def pair(self, name: str) -> Pair:
        """The certificate of this client."""
        return self._pairs(name)

    def _issue(self, name: str) -> Pair:
        stem = name.replace("/", ".")
        return issue(self.authority, self.folder / "clients", stem=stem, name=name, use=Use.CLIENT)

    def as_client(self, name: str) -> Broker:
        """The broker as this client reaches it."""
        pair = self.pair(name)
        return Broker.parse(self.url, ca_file=self.authority.cert, cert_file=pair.cert, key_file=pair.key)

    def keys(self, name: str) -> dict[str, str]:
        """ca_file, cert_file and key_file of a configuration file."""
        pair = self.pair(name)
        files = {"ca_file": self.authority.cert, "cert_file": pair.cert, "key_file": pair.key}
        return {key: str(path) for key, path in files.items()}


class Client:
    """A link with a certificate, and everything it heard."""

    def __init__(self, broker: Broker, *, client_id: str = "whatever", will: Will | None = None) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self._news = asyncio.Event()
        self.link = Link(broker=broker, client_id=client_id, will=will, on_message=self._take)

    async def connect(self, *filters: str) -> Client:
        """Connect, and subscribe to these."""
        await self.link.connect()
        if filters:
            await self.link.subscribe([(one, 1) for one in filters])
        return self

    async def until(self, topic: str, payload: bytes) -> None:
        """Returns when this message was heard."""
        async with asyncio.timeout(10):
            while (topic, payload) not in self.heard:
                self._news.clear()
                await self._news.wait()

    def _take(self, heard: Heard) -> None:
        self.heard.append((heard.topic, heard.payload))
        self._news.set()
