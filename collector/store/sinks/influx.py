"""InfluxDB: line protocol through influxdb-client to `/api/v2/write`.

Owns the requests, what an answer means (taken, this content refused, not now), and the search for the
one line that a refusal is about: by halves, so that the rest goes on. InfluxDB answers 204 when its
write-ahead log has the lines, so what is acknowledged is durable. Must not know cursors.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import urllib3
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.domain.write_precision import WritePrecision
from influxdb_client.rest import ApiException
from numpy.typing import NDArray

from collector.config import SinkAddress
from collector.store.rows import Rows
from collector.store.sinks.lines import (
    MEASUREMENT,
    Dialect,
    Labels,
    LineBuilder,
    Lines,
)
from collector.store.sinks.model import Refused, Sample, SinkDownError, Step
from gateway.contract.reading import PointName

REQUEST_LINES_MAX: Final = 10_000
"""Lines a request: InfluxDB's own advice, 1.1 MB before gzip."""
GZIP_LEVEL: Final = 1
STEP: Final = Step(entries_max=512, bytes_max=2 * 1024 * 1024)
"""About 200,000 readings, 26 MB as lines."""
BLOCKED_S: Final = 600.0
"""How long a field of a series whose type the server refuses is not tried again: a person must mend it."""
_MESSAGE_LENGTH_MAX: Final = 300

_CONTENT: Final = frozenset({400, 422})
_TOO_LARGE: Final = 413
_ABOUT_RETENTION: Final = re.compile(r"retention", re.IGNORECASE)
_ABOUT_TYPE: Final = re.compile(r"conflict|type", re.IGNORECASE)
_DROPPED: Final = re.compile(r"dropped[= ](\d+)")
_NANOSECONDS: Final = cast("WritePrecision", WritePrecision.NS)
_STOP_NS_MAX: Final = 9_214_646_400_000_000_000
"""The start of 2262: the last year of 64-bit nanoseconds."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class _ContentError(Exception):
    """The server will not take this content, whenever it is sent."""


class _TooLargeError(Exception):
    """The request is too large for the server."""


class LineServer:
    """A server that takes line protocol at `/api/v2/write`. Used by one thread at a time."""

    step = STEP
    lag_s = 0.0
    rewrites = True

    def __init__(
        self,
        address: SinkAddress,
        *,
        token_file: Path | None,
        ca_file: Path | None,
        timeout_s: float,
        now_s: Callable[[], float],
        measurement: str = MEASUREMENT,
        dialect: Dialect = Dialect.INFLUX,
    ) -> None:
        self._address = address
        self._token_file = token_file
        self._ca_file = None if ca_file is None else str(ca_file)
        self._timeout_s = timeout_s
        self._now_s = now_s
        self._measurement = measurement
        self._builder = LineBuilder(measurement=measurement, dialect=dialect)
        self._client: InfluxDBClient | None = None
        self._clients: tuple[InfluxDBClient, ...] = ()
        self._write: Callable[[bytes], Any] | None = None
        self._blocked: dict[tuple[PointName, int], tuple[float, str]] = {}

    def open(self, *, cursor: int) -> None:
        """Read the token anew: it may have been changed to mend a refusal. See `Target`."""
        self.close()
        address, token = self._address, self._token()
        writer, self._client = self._connected(token), self._connected(token)
        # The client's own gzip is of level 9: it takes longer than everything else together.
        writer.api_client.set_default_header("Content-Encoding", "gzip")  # type: ignore[no-untyped-call]
        self._clients = (writer, self._client)
        api = writer.write_api(write_options=SYNCHRONOUS)
        self._write = lambda body: api.write(
            bucket=address.bucket,
            org=address.org,
            record=gzip.compress(body, GZIP_LEVEL),
            write_precision=_NANOSECONDS,
        )

    def _connected(self, token: str) -> InfluxDBClient:
        return InfluxDBClient(
            url=self._address.server,
            token=token,
            org=self._address.org,
            timeout=round(self._timeout_s * 1000),
            retries=False,
            ssl_ca_cert=self._ca_file,
        )

    def write(self, rows: Rows, at: NDArray[np.int64], *, part: int, labels: Labels | None) -> list[Refused]:
        """See `Target`."""
        lines = self._builder.build(rows, at, labels)
        refused = [Refused(problem=problem, rows=bad, n=len(bad)) for bad, problem in lines.refused]
        self._blocked = {key: one for key, one in self._blocked.items() if one[0] > self._now_s()}
        for first in range(0, len(lines), REQUEST_LINES_MAX):
            places = np.arange(first, min(first + REQUEST_LINES_MAX, len(lines)))
            self._deliver(lines, places, rows, refused)
        return refused

    def life(self) -> str:
        """See `Target`: it has what it acknowledged on its disk."""
        return ""

    def missing(self, sample: Sample) -> int:
        """See `Target`: not asked where writes are durable."""
        return 0

    def why_missing(self) -> str:
        """See `Target`."""
        return ""

    def delete(self, point: PointName, *, from_ns: int, to_ns: int) -> bool:
        """See `Target`. InfluxDB 3 Core has no deletes, and says so with 404, 405 or 501.

        Whether `stop` itself is deleted differs by version: a microsecond less holds for both, since
        readings lie on whole milliseconds.
        """
        assert self._client is not None, "opened before anything else"
        tags = {"device": point.device, "group": point.group, "node": point.node, "point": point.name}
        terms = [f'_measurement="{self._measurement}"', *(f"{key}={_quoted(tags[key])}" for key in tags)]
        try:
            self._client.delete_api().delete(
                start=_moment(from_ns),
                stop=_moment(min(to_ns, _STOP_NS_MAX) - 1000),
                predicate=" AND ".join(terms),
                bucket=self._address.bucket,
                org=self._address.org,
            )
        except ApiException as error:
            if error.status in {404, 405, 501}:
                return False
            raise self._down(error) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._away(error) from error
        return True

    def close(self) -> None:
        """See `Target`."""
        for client in self._clients:
            client.close()  # type: ignore[no-untyped-call]
        self._clients = ()
        self._client = self._write = None

    # --- sending ----------------------------------------------------------------------------------

    def _deliver(self, lines: Lines, places: NDArray[np.int64], rows: Rows, refused: list[Refused]) -> None:
        """These lines, whole or by halves; what the server refuses by itself is added to `refused`."""
        places = self._passable(lines, places, rows, refused)
        if not len(places):
            return
        try:
            self._post(_body(lines, places))
        except _TooLargeError as error:
            if len(places) == 1:
                refused.append(Refused(problem=str(error), rows=lines.rows[places], n=1))
                return
        except _ContentError as error:
            problem = str(error)
            dropped = _DROPPED.search(problem)
            if _ABOUT_RETENTION.search(problem) and dropped:
                # The others were written; which ones were too old, only their times would tell.
                none = np.empty(0, np.int64)
                refused.append(Refused(problem=_general(problem), rows=none, n=int(dropped[1])))
                return
            if len(places) == 1:
                self._refuse(lines, places, rows, problem, refused)
                return
        else:
            return
        middle = len(places) // 2
        self._deliver(lines, places[:middle], rows, refused)
        self._deliver(lines, places[middle:], rows, refused)

    def _refuse(
        self, lines: Lines, places: NDArray[np.int64], rows: Rows, problem: str, refused: list[Refused]
    ) -> None:
        row = int(lines.rows[places[0]])
        if _ABOUT_TYPE.search(problem):
            key = (rows.points[rows.point[row]].point, int(rows.form[row]))
            self._blocked[key] = (self._now_s() + BLOCKED_S, problem)
        refused.append(Refused(problem=problem, rows=lines.rows[places], n=1))

    def _passable(
        self, lines: Lines, places: NDArray[np.int64], rows: Rows, refused: list[Refused]
    ) -> NDArray[np.int64]:
        """Without the lines of fields whose type the server has refused a moment ago."""
        for (point, form), (_, problem) in self._blocked.items() if self._blocked else ():
            at = [i for i, one in enumerate(rows.points) if one.point == point]
            row = lines.rows[places]
            bad = np.isin(rows.point[row], at) & (rows.form[row] == form)
            if bad.any():
                refused.append(Refused(problem=problem, rows=row[bad], n=int(bad.sum())))
                places = places[~bad]
        return places

    def _post(self, body: bytes) -> None:
        assert self._write is not None, "opened before anything else"
        try:
            self._write(body)
        except ApiException as error:
            if error.status in _CONTENT:
                raise _ContentError(_message(error)) from error
            if error.status == _TOO_LARGE:
                raise _TooLargeError(_message(error)) from error
            raise self._down(error) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._away(error) from error

    # --- what went wrong --------------------------------------------------------------------------

    def _down(self, error: ApiException) -> SinkDownError:
        if not error.status:  # the client's way to say that TLS failed
            return self._away(RuntimeError(str(error.reason)))
        hint = {
            401: "; is the token in token_file the right one?",
            403: "; may this token write to the bucket?",
            404: "; is there such a bucket, and organisation?",
        }.get(error.status, "")
        after = str(error.retry_after or "")
        return SinkDownError(
            f"{self._address.server} answers {error.status}: {_message(error)}{hint}",
            retry_after_s=float(after) if after.isdigit() else None,
        )

    def _away(self, error: Exception) -> SinkDownError:
        return SinkDownError(f"{self._address.server} cannot be reached: {str(error)[:_MESSAGE_LENGTH_MAX]}")

    def _token(self) -> str:
        if self._token_file is None:
            return ""
        try:
            return self._token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            msg = f"the token cannot be read: {error}"
            raise SinkDownError(msg) from error


def _body(lines: Lines, places: NDArray[np.int64]) -> bytes:
    first, last = int(places[0]), int(places[-1])
    if last - first + 1 == len(places):
        return bytes(lines.slice(first, last + 1))
    return b"".join(lines.slice(place, place + 1) for place in places.tolist())


def _message(error: ApiException) -> str:
    """What the server said, cut short. 1.x answers {"error": …}, 2 and 3 {"message": …}."""
    body = error.body or error.reason or error.message or ""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body)
    found = re.search(r'"(?:message|error)"\s*:\s*"((?:\\.|[^"\\])*)"', text)
    return (found[1].replace('\\"', '"') if found else text).strip()[:_MESSAGE_LENGTH_MAX]


def _general(problem: str) -> str:
    """Without its figures, so that equal problems are counted together."""
    return _DROPPED.sub("dropped", problem).strip()


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _moment(time_ns: int) -> datetime:
    return _EPOCH + timedelta(microseconds=time_ns // 1000)
