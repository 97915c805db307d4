"""The same question in SQL: DuckDB over Parquet files that hold the same readings.

Owns the export and the statement. The peer is given what helps it: files sorted by time, and beside each
reading the batch that it counts for (ours are never stamped with one: we look the stays up). It may pick
out first the batches that can have left the limit at all. Must not know our kernel.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from collector.identity.times import NS_PER_MS
from collector.store.readings import Form, ReadingStore
from deploy.answers import CommandError
from deploy.bench.judge.asking import Asked
from deploy.bench.judge.made import DELAY_S, HYSTERESIS, NEW_HIGH
from gateway.contract.reading import PointName

ROWS_A_GROUP: Final = 122_880
"""What DuckDB itself writes, and works on in one thread."""
MEMORY: Final = "8GB"
_NUMBERS: Final = {
    "high": NEW_HIGH,
    "back": NEW_HIGH - HYSTERESIS,
    "delay": DELAY_S * 1000,
}
# Islands of consecutive samples out of the limit, from the last sample inside; those at least as long as the
# delay open an excursion; it closes at the first later sample back inside by the hysteresis. Islands before
# that close belong to one excursion. The area is the sum of trapezoids over it, cut at the limit.
STATEMENT: Final = """
WITH wanted AS ({wanted}),
s AS (
  SELECT leg, t, v, v - {high} AS e,
    lag(t) OVER w AS t0, lag(v) OVER w - {high} AS e0
  FROM r WHERE quality = 192 AND v IS NOT NULL AND isfinite(v) AND leg IN (SELECT leg FROM wanted)
  WINDOW w AS (PARTITION BY leg ORDER BY t)
),
m AS (
  SELECT *,
    sum(CASE WHEN e > 0 AND (e0 IS NULL OR e0 <= 0) THEN 1 ELSE 0 END) OVER w AS island,
    min(CASE WHEN v <= {back} THEN t END)
      OVER (PARTITION BY leg ORDER BY t ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS back_at
  FROM s
  WINDOW w AS (PARTITION BY leg ORDER BY t)
),
i AS (
  SELECT leg, island, min(coalesce(t0, t)) AS since, min(t) AS first, min(back_at) AS back_at
  FROM m WHERE e > 0 GROUP BY leg, island HAVING max(t) - min(coalesce(t0, t)) >= {delay}
),
x AS (
  SELECT leg, back_at, min(since) AS since, min(first) AS first FROM i GROUP BY leg, back_at
)
SELECT x.leg, x.since, x.back_at, max(m.v) AS peak,
  sum(CASE
    WHEN m.t0 IS NULL THEN 0
    WHEN m.e0 > 0 AND m.e > 0 THEN (m.t - m.t0) / 1000.0 * (m.e0 + m.e) / 2
    WHEN m.e0 <= 0 AND m.e <= 0 THEN 0
    ELSE (m.t - m.t0) / 1000.0 * greatest(m.e0, m.e) * greatest(m.e0, m.e) / (2 * abs(m.e - m.e0))
  END) AS area,
  count(*) AS samples
FROM x JOIN m ON m.leg = x.leg AND m.t >= x.first AND (x.back_at IS NULL OR m.t <= x.back_at)
GROUP BY x.leg, x.since, x.back_at ORDER BY x.leg, x.since
"""
EVERY: Final = "every batch"
CROSSING: Final = "batches that can have crossed"
WANTED: Final = {
    EVERY: "SELECT DISTINCT leg FROM r",
    CROSSING: "SELECT leg FROM r WHERE quality = 192 GROUP BY leg HAVING max(v) > {high}",
}
"""Which batches go through the windows: all, or those that an aggregate has picked out before."""


def connect(folder: Path, *, threads: int) -> Any:
    """DuckDB in this process. CommandError where it is not installed."""
    try:
        import duckdb
    except ImportError as error:
        raise CommandError(
            "DuckDB is not installed", hint="uv sync --group bench (make bench does), or --no-peers"
        ) from error
    connection = duckdb.connect(config={"threads": threads, "memory_limit": MEMORY})
    connection.execute(f"SET temp_directory = '{folder / 'spill'}'")
    return connection


def version() -> str:
    """Of the installed DuckDB."""
    import duckdb

    return str(duckdb.__version__)


def export(asked: Asked, folder: Path) -> dict[str, Any]:
    """Every stay's readings in Parquet, a file a point; their bytes and the seconds it took."""
    folder.mkdir(parents=True)
    began = time.monotonic()
    writer: pq.ParquetWriter | None = None
    of = ""
    for number, (_, leg) in enumerate(asked.legs):
        for point in leg.points:
            if point.point != of:
                if writer is not None:
                    writer.close()
                of = point.point
                writer = pq.ParquetWriter(folder / f"{number:05d}.parquet", _SCHEMA, compression="zstd")
            assert writer is not None, "the first leg opens a file"
            for span in point.spans:
                table = _table(asked.readings, point.point, span.from_ns, span.to_ns, number)
                writer.write_table(table, row_group_size=ROWS_A_GROUP)
    if writer is not None:
        writer.close()
    return {
        "bytes": sum(path.stat().st_size for path in folder.iterdir()),
        "seconds": round(time.monotonic() - began, 2),
    }


_SCHEMA: Final = pa.schema(
    [("leg", pa.int32()), ("t", pa.int64()), ("v", pa.float64()), ("quality", pa.uint16())]
)


def _table(readings: ReadingStore, point: str, from_ns: int, to_ns: int, leg: int) -> pa.Table:
    found = readings.read(PointName.parse(point), from_ns=from_ns, to_ns=to_ns)
    columns = [
        pa.array([leg] * 1, pa.int32()).take(pa.array([0] * len(found), pa.int32())),
        pa.array(found.time_ns // NS_PER_MS),
        pa.array(found.value, mask=found.form == Form.NONE),
        pa.array(found.quality),
    ]
    return pa.table(columns, schema=_SCHEMA)


def ask(connection: Any, folder: Path, *, wanted: str, legs: int) -> list[tuple[Any, ...]]:
    """(leg, since ms, back at ms or None, peak, area, samples) of the first so many legs, by leg and time."""
    source = f"SELECT * FROM read_parquet('{folder}/*.parquet') WHERE leg < {legs}"  # noqa: S608 (ours)
    connection.execute(f"CREATE OR REPLACE VIEW r AS {source}")
    statement = STATEMENT.format(wanted=WANTED[wanted].format(**_NUMBERS), **_NUMBERS)
    found: list[tuple[Any, ...]] = connection.execute(statement).fetchall()
    return found
