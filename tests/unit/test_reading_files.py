"""CSV and Parquet hold every reading exactly, whatever its kind, a part at a time."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import numpy as np
import pytest
from pyarrow import parquet

from collector.api.readings import csv_value, files
from collector.store.readings import Form, PointInfo, Readings
from gateway.contract.reading import Kind, PointName, Quality, Value
from tests.gateways import T0_MS

POINT = PointName("zurich", "gw-1", "BR-01", "door/state")
KINDS: dict[Kind, tuple[Form, list[int], list[Value]]] = {
    Kind.F64: (Form.F64, [0x8000000000000000, 1, 0x3FB999999999999A], [-0.0, 5e-324, 0.1]),
    Kind.I64: (Form.I64, [1 << 63, (1 << 64) - 1, 7], [-(1 << 63), -1, 7]),
    Kind.U64: (Form.U64, [1 << 63, (1 << 64) - 1, 7], [1 << 63, (1 << 64) - 1, 7]),
    Kind.BOOL: (Form.BOOL, [1, 0, 1], [True, False, True]),
    Kind.STRING: (Form.STRING, [0, 1, 2], ['closed, "ü"', "two\r\nlines", "open"]),
}


def readings(kind: Kind, n: int = 3, *, start_ms: int = T0_MS) -> Readings:
    """`n` readings of a kind, then one without a value and one that is of another kind."""
    form, bits, _ = KINDS[kind]
    other = (Form.STRING, 2) if kind is not Kind.STRING else (Form.I64, (1 << 64) - 3)
    forms = [int(form)] * n + [0, int(other[0])]
    return Readings(
        kind=kind,
        time_ns=(start_ms + np.arange(n + 2)) * 1_000_000,
        form=np.array(forms, np.uint8),
        bits=np.array([bits[at % 3] for at in range(n)] + [0, other[1]], np.uint64),
        quality=np.array([192] * n + [0, 500], np.uint16),
        reason=np.array([0] * n + [1, 0], np.uint16),
        epoch=np.zeros(n + 2, np.uint16),
        number=np.arange(n + 2),
        index=np.arange(n + 2),
        ledger=np.ones(n + 2, np.int64),
        strings=('closed, "ü"', "two\r\nlines", "open"),
        reasons=("", "timeout"),
        epochs=("00aa11bb22cc33dd",),
    )


def info(kind: Kind) -> PointInfo:
    return PointInfo(POINT, kind, "Cel", 1000, None, retired=False)


@pytest.mark.parametrize("kind", list(Kind))
def test_a_file_holds_every_value_exactly(kind: Kind) -> None:
    part = readings(kind)
    wanted = KINDS[kind][2]
    data = b"".join(files.parquet_parts([part], info(kind), known="L7.J1"))
    table = parquet.read_table(io.BytesIO(data))
    assert [repr(value) for value in table.column("value").to_pylist()] == [
        *map(repr, wanted),
        "None",
        "None",
    ]
    assert table.column("other").to_pylist()[3:] == [None, "open" if kind is not Kind.STRING else "-3"]
    assert table.column("quality").to_pylist() == ["good"] * 3 + ["bad", "stale"]
    assert table.column("reason").to_pylist()[3] == "timeout"
    assert table.schema.metadata[b"telomere.known"] == b"L7.J1"
    rows = list(csv.DictReader(io.StringIO("".join(files.csv_parts([part])), newline="")))
    assert [row["value"] for row in rows[:3]] == [csv_value(value) for value in wanted]
    assert (rows[0]["time"], rows[3]["reason"], rows[4]["quality"]) == (
        "2026-09-21T14:13:20.000Z",
        "timeout",
        "stale",
    )


def test_parquet_goes_out_as_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "ROWS_PER_GROUP", 100)
    made = [0]

    def parts() -> Iterator[Readings]:
        for at in range(10):
            made[0] += 1
            yield readings(Kind.F64, 58, start_ms=T0_MS + at * 1000)

    sent = [made[0] for _ in files.parquet_parts(parts(), info(Kind.F64), known="L1.J1")]
    assert sent == [2, 4, 6, 8, 10, 10]
    data = b"".join(files.parquet_parts(parts(), info(Kind.F64), known="L1.J1"))
    file = parquet.ParquetFile(io.BytesIO(data))
    assert file.metadata.num_rows == 600
    assert max(file.metadata.row_group(at).num_rows for at in range(file.num_row_groups)) <= 100
    assert Quality.GOOD.word in file.read().column("quality").to_pylist()
