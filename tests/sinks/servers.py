"""Real servers from Debian on free ports: VictoriaMetrics, and InfluxDB 1.6.7 behind a small proxy.

InfluxDB 1.6.7 has no `/api/v2`: the proxy spells `/api/v2/write` as `/write` and `/api/v2/delete` as
InfluxQL's DELETE, and checks that what was asked is what version 2 documents. Everything else goes
through as it is. Servers are started, stopped and killed by their own pid.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from tests.brokers import free_port

START_S: Final = 20.0
_INFLUX: Final = """
reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
  dir = "{folder}/meta"
[data]
  dir = "{folder}/data"
  wal-dir = "{folder}/wal"
  query-log-enabled = false
  index-version = "tsi1"
[http]
  bind-address = "127.0.0.1:{port}"
  log-enabled = false
  max-body-size = {body_max}
[logging]
  level = "error"
"""


def wait_until(what: Any, *, timeout_s: float = START_S) -> Any:
    """The first true answer of `what`; OSErrors are no answer."""
    until = time.monotonic() + timeout_s
    while True:
        try:
            found = what()
        except OSError:
            found = None
        if found:
            return found
        assert time.monotonic() < until, "waited too long"
        signal.sigtimedwait([], 0.05)


def get(url: str, **fields: str) -> bytes:
    """A GET's body; HTTP errors raise with what the server said."""
    text = f"{url}?{urllib.parse.urlencode(fields)}" if fields else url
    try:
        with urllib.request.urlopen(text, timeout=20) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            raise AssertionError(f"{text}: {error.code} {error.read()!r}") from None


class _Server:
    """A process on a port that stays the same over restarts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        raise NotImplementedError

    def ready(self) -> str:
        raise NotImplementedError

    def start(self) -> None:
        """Returns when it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(self.command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: get(self.url + self.ready()) is not None)

    def kill(self) -> None:
        """SIGKILL and wait."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM and wait."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(number)
            process.wait(20)


class Victoria(_Server):
    """VictoriaMetrics; `flags` as on its command line."""

    def __init__(self, folder: Path, *flags: str, retention: str = "100y") -> None:
        super().__init__(folder)
        self._flags = (*flags, f"-retentionPeriod={retention}")

    def command(self) -> list[str]:
        path = shutil.which("victoria-metrics") or "/usr/bin/victoria-metrics"
        return [
            *(path, f"-storageDataPath={self.folder}", f"-httpListenAddr=127.0.0.1:{self.port}"),
            *("-loggerLevel=ERROR", "-dedup.minScrapeInterval=1ms"),
            *("-search.latencyOffset=0s", "-memory.allowedBytes=256MB", *self._flags),
        ]

    def ready(self) -> str:
        return "/health"

    @property
    def sink(self) -> str:
        """As collector.toml spells it."""
        return f"victoriametrics+{self.url}"

    def export(self, match: str) -> list[dict[str, Any]]:
        """Series as they are stored: metric, values, timestamps in ms; without the usual ten seconds."""
        get(f"{self.url}/internal/force_flush")
        found = get(f"{self.url}/api/v1/export", **{"match[]": match})
        return [json.loads(line) for line in found.splitlines()]

    def query(self, text: str, at_s: float) -> list[dict[str, Any]]:
        """An instant query's result."""
        answer = json.loads(get(f"{self.url}/api/v1/query", query=text, time=str(at_s)))
        return list(answer["data"]["result"])


class Influx(_Server):
    """influxd 1.6.7 with its proxy: `url` is the server's own, `sink` the proxy's."""

    def __init__(self, folder: Path, *, database: str = "telomere", body_max: int = 25_000_000) -> None:
        super().__init__(folder)
        self.database = database
        self._body_max = body_max
        self._proxy: ThreadingHTTPServer | None = None
        self.proxy_port = free_port()
        self.tokens: set[str] = set()
        """Seen in Authorization."""
        self.requests = 0
        self.refuse_status = 0
        """Answer this to every write instead of asking the server."""

    def command(self) -> list[str]:
        path = shutil.which("influxd") or "/usr/bin/influxd"
        conf = self.folder / "influxdb.conf"
        text = _INFLUX.format(folder=self.folder, rpc=free_port(), port=self.port, body_max=self._body_max)
        conf.write_text(text, encoding="utf-8")
        return [path, "-config", str(conf)]

    def ready(self) -> str:
        return "/ping"

    def start(self) -> None:
        super().start()
        self.ql(f'CREATE DATABASE "{self.database}"')
        if self._proxy is None:
            self._proxy = ThreadingHTTPServer(("127.0.0.1", self.proxy_port), _handler(self))
            threading.Thread(target=self._proxy.serve_forever, daemon=True).start()

    @property
    def sink(self) -> str:
        """As collector.toml spells it."""
        return f"influxdb+http://127.0.0.1:{self.proxy_port}?org=lab&bucket={self.database}"

    def ql(self, text: str) -> list[dict[str, Any]]:
        """Series of the first result of an InfluxQL statement, times in ns."""
        data = urllib.parse.urlencode({"db": self.database, "q": text, "epoch": "ns"}).encode()
        with urllib.request.urlopen(f"{self.url}/query", data=data, timeout=30) as answer:
            result = json.loads(answer.read())["results"][0]
        assert "error" not in result, f"{text}: {result['error']}"
        return list(result.get("series", []))

    def write(self, lines: str) -> None:
        """Lines of somebody else's, straight to the server."""
        with urllib.request.urlopen(f"{self.url}/write?db={self.database}", data=f"{lines}\n".encode()):
            pass

    def rows(self, text: str) -> list[list[Any]]:
        """Rows of all series of an answer."""
        return [row for series in self.ql(text) for row in series["values"]]

    def close(self) -> None:
        """Stop the server and the proxy."""
        self.stop()
        if self._proxy is not None:
            self._proxy.shutdown()
            self._proxy.server_close()


def _handler(influx: Influx) -> type[BaseHTTPRequestHandler]:
    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            parts = urllib.parse.urlsplit(self.path)
            asked = dict(urllib.parse.parse_qsl(parts.query))
            influx.tokens.add(self.headers.get("Authorization", ""))
            influx.requests += 1
            if influx.refuse_status:
                self._answer(influx.refuse_status, b'{"code":"unauthorized","message":"unauthorized access"}')
                return
            assert (asked["org"], asked["bucket"]) == ("lab", influx.database), self.path
            match parts.path:
                case "/api/v2/write":
                    assert asked["precision"] == "ns"
                    self._forward("/write", {"db": asked["bucket"], "precision": "ns"}, body)
                case "/api/v2/delete":
                    self._forward("/query", {"db": asked["bucket"], "q": _delete(json.loads(body))}, b"")
                case _:
                    self._answer(404, b"{}")

        def _forward(self, path: str, fields: dict[str, str], body: bytes) -> None:
            headers = {
                name: self.headers[name]
                for name in ("Content-Encoding", "Content-Type")
                if self.headers.get(name)
            }
            request = urllib.request.Request(
                f"{influx.url}{path}?{urllib.parse.urlencode(fields)}",
                data=body,
                headers=headers,
                method="POST",
            )
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    status, said = answer.status, answer.read()
            except urllib.error.HTTPError as error:
                with error:
                    status, said = error.code, error.read()
            except OSError:
                self.close_connection = True  # the server is gone, and so are we
                return
            if path == "/query":
                assert b'"error"' not in said, said
                status, said = 204, b""
            self._answer(status, said)

        def _answer(self, status: int, said: bytes) -> None:
            self.send_response(status)
            if status != 204:
                self.send_header("Content-Length", str(len(said)))
                self.send_header("Content-Type", "application/json")
            self.end_headers()
            if status != 204:
                self.wfile.write(said)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    return Proxy


def _delete(asked: dict[str, str]) -> str:
    """InfluxQL of a delete of version 2."""
    terms = dict(re.findall(r'(\w+)="((?:\\.|[^"\\])*)"', asked["predicate"]))
    measurement = terms.pop("_measurement")
    where = " AND ".join(f"\"{key}\" = '{value}'" for key, value in terms.items())
    start, stop = asked["start"], asked["stop"]
    return f"DELETE FROM \"{measurement}\" WHERE {where} AND time >= '{start}' AND time < '{stop}'"
