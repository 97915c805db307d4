"""A Modbus TCP device that costs next to nothing: canned answers, in a process of its own.

Owns nothing but speed: every read of registers is answered with as many as were asked, counting up. Run as
`python -m deploy.bench.modbus.device`; prints its port.
"""

from __future__ import annotations

import asyncio
import sys


class _Peer(asyncio.Protocol):
    def __init__(self) -> None:
        self._wire: asyncio.Transport | None = None
        self._canned: dict[bytes, bytes] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._wire = transport

    def data_received(self, data: bytes) -> None:
        assert self._wire is not None
        out = []
        for at in range(0, len(data) - 11, 12):
            ask = data[at + 6 : at + 12]
            body = self._canned.get(ask)
            if body is None:
                count = int.from_bytes(ask[4:6], "big")
                first = int.from_bytes(ask[2:4], "big")
                words = b"".join((n % 1000).to_bytes(2, "big") for n in range(first, first + count))
                body = b"\0\0" + (3 + len(words)).to_bytes(2, "big") + ask[:2] + bytes([len(words)]) + words
                self._canned[ask] = body
            out.append(data[at : at + 2] + body)
        self._wire.write(b"".join(out))


async def _main() -> None:
    server = await asyncio.get_running_loop().create_server(_Peer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(_main())
