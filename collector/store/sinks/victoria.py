"""VictoriaMetrics: the same door as InfluxDB's, with less behind it.

Owns what makes up for that: it acknowledges what is in its memory only (a kill loses the last seconds),
so the copier lags and asks here whether the process is still the one that acknowledged (`life`); and it
acknowledges what it then drops (malformed lines, times beyond its retention), so samples are read back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import urllib3

from collector.config import SinkAddress
from collector.store.sinks.influx import LineServer
from collector.store.sinks.lines import MEASUREMENT, QUALITY, Dialect
from collector.store.sinks.model import Sample, SinkDownError
from gateway.contract.reading import PointName

_STARTED: Final = re.compile(rb"^process_start_time_seconds\s+(\S+)", re.MULTILINE)
_IGNORED: Final = re.compile(rb'^vm_rows_ignored_total\{reason="([^"]*)"\}\s+(\S+)', re.MULTILINE)
_OK: Final = 200


class VictoriaServer(LineServer):
    """A VictoriaMetrics server."""

    def __init__(
        self,
        address: SinkAddress,
        *,
        token_file: Path | None,
        ca_file: Path | None,
        timeout_s: float,
        now_s: Callable[[], float],
        lag_s: float,
        measurement: str = MEASUREMENT,
    ) -> None:
        super().__init__(
            address,
            token_file=token_file,
            ca_file=ca_file,
            timeout_s=timeout_s,
            now_s=now_s,
            measurement=measurement,
            dialect=Dialect.VICTORIA,
        )
        self.lag_s = lag_s
        self._pool = urllib3.PoolManager(timeout=timeout_s, retries=False, ca_certs=self._ca_file)

    def life(self) -> str:
        """When its process started. Raises SinkDownError when it does not say: then nothing is safe."""
        found = _STARTED.search(self._get("/metrics", {}))
        if found is None:
            msg = (
                f"{self._address.server}/metrics does not say when the process started: give the address of "
                "VictoriaMetrics itself, since nothing else tells what a restart lost"
            )
            raise SinkDownError(msg)
        return found[1].decode("ascii", "replace")

    def missing(self, sample: Sample) -> int:
        """See `Target`: by the quality, which every reading has."""
        point = sample.point
        labels = {
            "__name__": f"{self._measurement}_{QUALITY}",
            "device": point.device,
            "group": point.group,
            "node": point.node,
            "point": point.name,
            "batch": sample.label,
        }
        match = ",".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in labels.items())
        first, last = min(sample.times_ms), max(sample.times_ms)
        asked = {"match[]": f"{{{match}}}", "start": f"{first / 1000:.3f}", "end": f"{last / 1000:.3f}"}
        found: set[int] = set()
        for line in self._get("/api/v1/export", asked).splitlines():
            found.update(json.loads(line)["timestamps"])
        return len(set(sample.times_ms) - found)

    def why_missing(self) -> str:
        """See `Target`: what it counts as ignored, which it does not tell the writer."""
        ignored = [
            (match[1].decode(), float(match[2])) for match in _IGNORED.finditer(self._get("/metrics", {}))
        ]
        told = [f"{reason} ({n:.0f} in all)" for reason, n in ignored if n]
        return f"the server ignores values: {', '.join(told)}; see -retentionPeriod" if told else ""

    def delete(self, point: PointName, *, from_ns: int, to_ns: int) -> bool:
        """See `Target`: it deletes whole series only."""
        return False

    def close(self) -> None:
        """See `Target`."""
        super().close()
        self._pool.clear()

    def _get(self, path: str, fields: dict[str, str]) -> bytes:
        token = self._token()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            answer = self._pool.request("GET", self._address.server + path, fields=fields, headers=headers)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._away(error) from error
        if answer.status != _OK:
            msg = f"{self._address.server}{path} answers {answer.status}: {answer.data[:200]!r}"
            raise SinkDownError(msg)
        return answer.data
