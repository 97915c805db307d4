"""An https server with an authority of its own: trusted by `ca_file`, refused without it."""

from __future__ import annotations

import gzip
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from collector.store.sinks.model import SinkDownError
from deploy.mosquitto.authority import Use, issue, make_authority
from tests.gateways import T0_MS, metric, numbers
from tests.sinks.site import Site


def test_an_authority_of_its_own(site: Site, tmp_path: Path) -> None:
    authority = make_authority(tmp_path / "ca")
    pair = issue(
        authority, tmp_path / "tls", stem="server", name="127.0.0.1", use=Use.SERVER, addresses=["127.0.0.1"]
    )
    bodies: list[bytes] = []

    class Taker(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(gzip.decompress(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Taker)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    site.born(metric("t", 1))
    site.take(numbers(1, T0_MS, [1.5]))
    url = f"influxdb+https://127.0.0.1:{server.server_address[1]}?org=o&bucket=b"
    try:
        with pytest.raises(SinkDownError, match="CERTIFICATE_VERIFY_FAILED"):
            site.copier(url).step()
        assert bodies == []
        site.drain(site.copier(url, ca_file=authority.cert))
        assert [body.partition(b" ")[2] for body in bodies] == [b"value=1.5,quality=192i %d000000\n" % T0_MS]
    finally:
        server.shutdown()
        server.server_close()
