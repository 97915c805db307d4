"""The command line from outside: exit codes, words on stderr, one document on stdout."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from deploy import cli
from gateway.link.client import LinkError
from gateway.link.faults import ConfigError, Fault

Telomere = Callable[..., tuple[int, str, str]]
HISTORY = {
    "known": "L9.J4",
    "verdict": None,
    "legs": [
        {
            "equipment": "equipment:FRZ-01",
            "from": "2026-03-01T10:00:00.000Z",
            "to": None,
            "source": "scan",
            "state": "confirmed",
            "points": [
                {"point": "z/g/FRZ-01/temperature", "unit": "Cel", "slots": 10, "present": 9, "min": -21.5}
            ],
        },
        {"equipment": "equipment:SHP-01", "from": "2026-03-02T10:00:00.000Z", "points": []},
    ],
    "excursions": [{"point": "z/g/FRZ-01/temperature", "side": "high", "seconds": 1260.0, "peak": -9.8}],
    "exceptions": [{"kind": "late_scan", "subject": "batch:B-1", "state": "open"}],
    "not_kept": [{"point": "z/g/FRZ-01/temperature", "from": "a", "to": "b"}],
    "record": {"state": "unsigned_changed"},
}
MANIFEST = {
    "batch": "batch:B-1",
    "known": {"token": "L9.J4"},
    "legs": [
        {
            "equipment": "equipment:FRZ-01",
            "parameters": [
                {
                    "parameter": "temperature",
                    "points": [
                        {
                            "point": "z/g/FRZ-01/temperature",
                            "lines": [{"period_s": 10.0, "n": 9, "p": 7, "m": 2, "causes": {"loss": 2}}],
                        }
                    ],
                    "unassigned": [{"period_s": 60.0, "n": 5, "p": 0, "m": 0, "causes": {}}],
                }
            ],
            "unassigned": [],
        },
        {
            "equipment": "equipment:SHP-01",
            "parameters": [],
            "unassigned": [{"period_s": 60.0, "n": 1, "p": 0, "m": 0, "causes": {}}],
        },
    ],
    "total": {"n": 15, "p": 7, "m": 2},
    "ratio": None,
    "red": ["6 slots had no sensor"],
}


@pytest.fixture
def telomere(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Telomere:
    """Runs one command in this process, with its logging as the test set it: exit code, stdout, stderr."""
    monkeypatch.setattr("deploy.logs.configure", lambda: None)

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["telomere", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


class _Collector(BaseHTTPRequestHandler):
    """Answers of a collector, from a table; lists come in two pages."""

    def do_GET(self) -> None:
        path, query = urlsplit(self.path).path.removeprefix("/api/v1"), urlsplit(self.path).query
        if self.headers.get("Authorization") != "Bearer secret":
            self._send(401, {"title": "Not signed in"})
        elif path == "/batches":
            last = query == "cursor=2"
            item = {"id": f"batch:B-{2 if last else 1}", "number": "B"}
            self._send(200, {"items": [item], "next": None if last else "2"})
        elif path == "/batches/B-1":
            self._send(200, {"id": "batch:B-1", "coi": {"scheme": "own"}})
        elif path == "/batches/B%2F1/history" and query == "as_known_at=L9.J4":
            self._send(200, HISTORY)
        elif path == "/batches/B%2F1/manifest" and query == "as_known_at=L9.J4":
            self._send(200, MANIFEST)
        elif path == "/batches/broken/history":
            self._send(503, {"title": "Busy"})
        else:
            self._send(404, {"title": "Unknown", "detail": f"no batch at {path}"})

    def _send(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing on stderr: the test reads it."""


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A collector at TELOMERE_URL, with the token in TELOMERE_TOKEN."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Collector) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("TELOMERE_URL", f"http://127.0.0.1:{server.server_address[1]}/")
        monkeypatch.setenv("TELOMERE_TOKEN", "secret")
        yield
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "words",
    [
        "batch record B-1",
        "batch history B-1 --format parquet",
        "import tags f.csv",
        "verify r.json",
    ],
)
def test_what_is_not_built_says_so(telomere: Telomere, words: str) -> None:
    code, out, err = telomere(*words.split())
    assert (code, out) == (2, "")
    assert "not built yet" in err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("nonsense", "No such command"),
        ("edge check", "--config"),
        ("demo --history 5m", "at least 1h"),
        ("demo --exit-after soon", "not a span of time"),
        ("edge event --config e.toml --act put_in", "a scan needs --act, --batch and --equipment"),
        ("edge event --config e.toml --kind note", "a note needs --note"),
        ("edge event --config e.toml --effective noon", "not an ISO 8601 time"),
    ],
)
def test_bad_usage_exits_2(telomere: Telomere, words: str, sentence: str) -> None:
    code, out, err = telomere(*words.split())
    assert (code, out) == (2, "")
    assert sentence in " ".join(err.replace("│", " ").split())


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (
            ConfigError([Fault("e.toml", "a", "x", "h1"), Fault("e.toml", "b", "y", "h2")]),
            2,
            "e.toml: b: y\n    h2",
        ),
        (LinkError("refused", where="mqtt://h:1"), 3, "cannot reach a peer: refused (mqtt://h:1)"),
        (ConnectionRefusedError(111, "Connection refused"), 3, "Connection refused"),
        (OSError(98, "Address already in use"), 2, "the port is in use"),
        (FileNotFoundError(2, "No such file or directory", "x.toml"), 2, "cannot use x.toml"),
        (ModuleNotFoundError("no", name="fastapi.routing"), 2, "telomere[collector]"),
    ],
)
def test_failures_are_told_in_one_place(
    telomere: Telomere, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, sentence: str
) -> None:
    def fail(*_: object, **__: object) -> int:
        raise error

    monkeypatch.setattr("deploy.cli_edge.check", fail)
    ended, out, err = telomere("edge", "check", "--config", "e.toml")
    assert (ended, out) == (code, "")
    assert sentence in err
    assert "Traceback" not in err


def test_a_bug_of_ours_is_not_dressed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> int:
        raise KeyError("ours")

    monkeypatch.setattr("deploy.logs.configure", lambda: None)
    monkeypatch.setattr("deploy.cli_edge.check", fail)
    monkeypatch.setattr(sys, "argv", ["telomere", "edge", "check", "--config", "e.toml"])
    with pytest.raises(KeyError, match="ours"):
        cli.main()


def test_an_edge_install_needs_nothing_of_the_collector() -> None:
    script = (
        "import sys; from deploy import cli, cli_edge\n"
        "bad = {'collector', 'fastapi', 'sqlalchemy', 'uvicorn', 'httpx', 'argon2'} & set(sys.modules)\n"
        "sys.exit(f'imported: {bad}' if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)


@pytest.mark.parametrize(("level", "seen"), [("info", ["one", "three"]), ("warning", ["three"])])
def test_log_lines_go_to_stderr_in_one_form(level: str, seen: list[str]) -> None:
    script = (
        "import logging, structlog\n"
        "log = structlog.get_logger()\n"
        "from deploy import logs; logs.configure()\n"
        "log.info('one', depth=3); log.debug('two'); logging.getLogger('lib').warning('three')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"TELOMERE_LOG": level},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert [line.partition("event=")[2].split()[0] for line in lines] == seen
    assert all(line.startswith("timestamp=") and " level=" in line for line in lines)


@pytest.mark.usefixtures("collector")
def test_a_list_is_fetched_over_all_pages(telomere: Telomere) -> None:
    code, out, err = telomere("batch", "list", "--json")
    assert (code, err) == (0, "")
    assert [item["id"] for item in json.loads(out)["items"]] == ["batch:B-1", "batch:B-2"]
    assert "batch:B-2" in telomere("batch", "list")[1]
    assert telomere("batch", "list", "--format", "csv")[1].splitlines()[0] == "id,number"


@pytest.mark.usefixtures("collector")
def test_one_batch_is_shown(telomere: Telomere) -> None:
    assert json.loads(telomere("batch", "show", "B-1", "--json")[1])["id"] == "batch:B-1"
    assert '{"scheme": "own"}' in telomere("batch", "show", "B-1")[1]


@pytest.mark.usefixtures("collector")
def test_a_history_as_known_at_a_position_in_every_form(telomere: Telomere, tmp_path: Path) -> None:
    ask = ("batch", "history", "B/1", "--as-known-at", "L9.J4")
    assert json.loads(telomere(*ask, "--json")[1]) == HISTORY
    text = telomere(*ask)[1]
    assert "late_scan" in text
    assert "1260.0 s  peak -9.8" in text
    assert "not kept   z/g/FRZ-01/temperature  a – b" in text
    assert "record     unsigned_changed" in text
    assert telomere(*ask, "--format", "csv", "-o", str(tmp_path / "h.csv"))[:2] == (0, "")
    rows = (tmp_path / "h.csv").read_text().splitlines()
    assert rows[0].startswith("equipment,from,to,source,state,point,unit,slots,present,")
    assert rows[1].startswith(
        "equipment:FRZ-01,2026-03-01T10:00:00.000Z,,scan,confirmed,z/g/FRZ-01/temperature,Cel,10"
    )
    assert len(rows) == 3


@pytest.mark.usefixtures("collector")
def test_a_manifest_names_every_line_also_time_that_no_sensor_watched(telomere: Telomere) -> None:
    ask = ("batch", "manifest", "B/1", "--as-known-at", "L9.J4")
    assert json.loads(telomere(*ask, "--json")[1]) == MANIFEST
    assert telomere(*ask, "--format", "csv")[1].splitlines() == [
        "equipment,parameter,point,from,to,period_s,n,p,m,causes",
        'equipment:FRZ-01,temperature,z/g/FRZ-01/temperature,,,10.0,9,7,2,"{""loss"": 2}"',
        "equipment:FRZ-01,temperature,,,,60.0,5,0,0,{}",
        "equipment:SHP-01,,,,,60.0,1,0,0,{}",
    ]
    text = telomere(*ask)[1]
    assert "red        6 slots had no sensor" in text
    assert "total      n 15  p 7  m 2" in text
    assert "ratio      none: no slot was required" in text


@pytest.mark.usefixtures("collector")
@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ("batch show B-9", 2, "Unknown: no batch at /batches/B-9"),
        ("batch history broken", 3, "Busy"),
        ("batch list --token wrong", 2, "TELOMERE_TOKEN"),
        ("batch list --url http://127.0.0.1:9", 3, "is the collector running there?"),
    ],
)
def test_a_refusal_is_told_in_the_words_of_the_collector(
    telomere: Telomere, words: str, code: int, sentence: str
) -> None:
    ended, out, err = telomere(*words.split())
    assert (ended, out) == (code, "")
    assert sentence in err
