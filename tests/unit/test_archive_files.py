"""Archive files: every payload comes back exactly, and nothing else does."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.store.archive import columns
from collector.store.archive.file import ArchiveError, Reader, Sealed, Writer, sha256_of
from collector.store.archive.ranges import Archive
from gateway.contract import births, wire
from gateway.contract.reading import Kind, Quality, Reading
from tests.gateways import T0_MS, SimGateway, metric, numbers

BR = "BR-01"


def rng_values(seed: int, n: int) -> list[float]:
    return [float(x) for x in np.round(20 + np.cumsum(np.random.default_rng(seed).normal(0, 0.05, n)), 2)]


def usual(segments: int = 40) -> list[bytes]:
    """Live and historical segments of two points, births, and a death."""
    gateway = SimGateway()
    out = [gateway.nbirth()[1], gateway.dbirth(BR, [metric("a", 1), metric("b", 300)])[1]]
    for i in range(segments):
        readings = [
            reading
            for key in (1, 300)
            for reading in numbers(key, T0_MS + i * 50_000, rng_values(i * 1000 + key, 50))
        ]
        readings.sort(key=lambda one: one.time_ms)
        out.append(gateway.data(gateway.make(BR, readings), historical=i % 2 == 0)[1])
    return [*out, births.encode_ndeath(bd_seq=3, sent_ms=T0_MS)]


def kinds() -> list[bytes]:
    """Every kind of value, quality, reason, name and text that a block can carry."""
    readings = [
        Reading(T0_MS, Kind.F64, 1.5, 3),
        Reading(T0_MS, Kind.I64, -7, 4),
        Reading(T0_MS + 1, Kind.U64, (1 << 64) - 1, 5),
        Reading(T0_MS + 1, Kind.BOOL, True, 6),
        Reading(T0_MS + 2, Kind.STRING, "närvö", 7),
        Reading(T0_MS + 2, Kind.STRING, "", 0, "Journal/Event"),
        Reading(T0_MS + 3, Kind.F64, None, 3, quality=Quality.BAD, reason="timeout"),
        Reading(T0_MS + 4, Kind.F64, 2.0, 3, quality=Quality.STALE, reason=""),
        Reading(T0_MS + 5, Kind.F64, 2.5, (1 << 63) - 1),
    ]
    gateway = SimGateway()
    return [gateway.data(gateway.make(BR, readings), historical=h)[1] for h in (False, True)] * 3


def foreign() -> list[bytes]:
    """What other encoders write, and what nobody should."""
    typed = wire.Payload(timestamp=T0_MS, seq=9)
    typed.metrics.add(name="x", timestamp=T0_MS, datatype=10, double_value=1.0)
    typed.metrics.add(name="y", timestamp=T0_MS, float_value=1.25)
    typed.metrics.add(alias=1 << 63, timestamp=T0_MS, long_value=1)
    typed.metrics.add(alias=9, long_value=1)
    uuid = wire.Payload(timestamp=T0_MS, seq=9, uuid="u")
    return [
        *(one.SerializeToString() for one in (typed, uuid)),
        b"",
        b"\x08",
        b"\x08\x01\x18\x02",
        b"\x08\x81\x00\x18\x02",  # a varint that is not spelled shortest
        b"\x08\x01\x12\x85\x00\x10\x01\x18\x01\x38\x18\x02",
        b"\x08\x01\x12\x04\x10\x01\x18\x01\x18\x02",  # neither value nor is_null
        b"\x08\x01\x12\x06\x10\x01\x18\x01\x70\x02\x18\x02",  # a boolean of 2
        b"\x08\x01\x12\x09\x18\x02",
        b"\xff" * 30,
    ]


@pytest.mark.parametrize("made", [usual, kinds, foreign])
def test_a_block_gives_back_the_same_bytes(made: object) -> None:
    assert callable(made)
    payloads = made()
    parts = columns._split(
        columns.COLUMNS[:0] + columns._join(columns._sections(payloads, [""] * len(payloads)))
    )
    assert columns._payloads(parts) == payloads
    assert columns.unpack(columns.pack(payloads, [""] * len(payloads))) == payloads


def test_our_own_segments_are_taken_apart() -> None:
    payloads = usual()
    packed = columns.pack(payloads, ["s"] * len(payloads))
    assert packed[:1] == columns.COLUMNS
    assert len(packed) < sum(map(len, payloads)) / 5


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_bytes_come_back(data: st.DataObject) -> None:
    """Whole payloads, damaged ones, and noise, in any order, from any senders."""
    pool = [*usual(2), *kinds(), *foreign()]
    payloads = []
    for _ in range(data.draw(st.integers(0, 12))):
        one = data.draw(st.sampled_from(pool) | st.binary(max_size=40))
        if one and data.draw(st.booleans()):
            at = data.draw(st.integers(0, len(one) - 1))
            one = one[:at] + bytes([data.draw(st.integers(0, 255))]) + one[at + 1 :]
        payloads.append(one)
    streams = [data.draw(st.sampled_from("ab")) for _ in payloads]
    sections = columns._sections(payloads, streams)
    assert columns._payloads(sections) == payloads
    assert columns.unpack(columns.pack(payloads, streams)) == payloads


def test_a_block_that_does_not_come_back_equal_is_kept_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    payloads = usual()
    monkeypatch.setattr(columns, "_payloads", lambda _sections: [b"?"] * len(payloads))
    packed = columns.pack(payloads, [""] * len(payloads))
    assert packed[:1] == columns.WHOLE
    assert columns.unpack(packed) == payloads


# --- files ------------------------------------------------------------------------------------------


def write(
    folder: Path, payloads: list[bytes], *, first: int = 1, previous: str = "", block: int = 7
) -> Sealed:
    writer = Writer(folder, ledger_id="l", first=first, previous=previous)
    for at in range(0, len(payloads), block):
        part = payloads[at : at + block]
        writer.add(part, ["s"] * len(part))
    return writer.finish()


def test_a_file_is_read_by_id(tmp_path: Path) -> None:
    payloads = usual(20)
    files = [write(tmp_path, payloads)]
    files.append(write(tmp_path, payloads[:5], first=files[0].last + 1, previous=files[0].sha256))
    archive = Archive(tmp_path, listed=lambda: files)
    assert archive.payloads([3, 1, 22, 25]) == {
        3: payloads[2], 1: payloads[0], 22: payloads[21], 25: payloads[1]
    }  # fmt: skip
    assert files[0].sha256 == sha256_of(tmp_path / files[0].name)
    assert archive.verify(files[0], previous="") == files[0].last
    assert archive.verify(files[1], previous=files[0].sha256) == 5
    with pytest.raises(ArchiveError, match="does not follow"):
        archive.verify(files[1], previous="")
    with pytest.raises(ArchiveError, match="no file is listed"):
        archive.payloads([files[1].last + 1])
    archive.close()


def test_every_changed_byte_is_found(tmp_path: Path) -> None:
    payloads = usual(6)
    sealed = write(tmp_path, payloads)
    path = tmp_path / sealed.name
    whole = path.read_bytes()
    for at in [*range(0, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x40]) + whole[at + 1 :])
        archive = Archive(tmp_path, listed=lambda: [sealed])
        with pytest.raises(ArchiveError):
            archive.verify(sealed, previous="")
        found, lost = archive.readable(range(1, sealed.last + 1))
        assert all(found[i] == payloads[i - 1] for i in found)
        assert found.keys() | lost.keys() == set(range(1, sealed.last + 1))
        archive.close()


def test_damage_is_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    payloads = usual(20)
    sealed = write(tmp_path, payloads)
    path = tmp_path / sealed.name
    reader = Reader.open(path)
    second = reader.blocks[1]
    reader.close()
    raw = bytearray(path.read_bytes())
    raw[second.at + 3] ^= 1
    path.write_bytes(raw)
    archive = Archive(tmp_path, listed=lambda: [sealed])
    found, lost = archive.readable(range(1, sealed.last + 1))
    assert set(lost) == set(range(8, 15))
    assert len(found) == sealed.last - 7
    assert "entries 8 to 14" in archive.faults[sealed.name]
    path.unlink()
    other = Archive(tmp_path, listed=lambda: [sealed])
    other.look()
    assert "cannot be opened" in other.faults[sealed.name]
    path.write_bytes(raw)
    other.look()
    assert other.faults == {}


def test_an_old_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    """The golden file of format 1: written forms only grow."""
    golden = Path(__file__).parent / "archive_1.tla"
    expected = json.loads((Path(__file__).parent / "archive_1.json").read_text())
    reader = Reader.open(golden)
    found = [
        hashlib.sha256(payload).hexdigest() for block in reader.blocks for payload in reader.payloads(block)
    ]
    assert found == expected["sha256"]
    assert (reader.first, reader.last, reader.previous) == (1, len(found), "")
    reader.close()


def make_golden() -> None:
    """Run once a format: `python -c "from tests.unit import test_archive_files as t; t.make_golden()"`."""
    payloads = [*usual(12), *kinds(), *foreign()]
    folder = Path(__file__).parent
    sealed = write(folder, payloads, block=24)
    (folder / sealed.name).rename(folder / "archive_1.tla")
    (folder / "archive_1.json").write_text(
        json.dumps({"sha256": [hashlib.sha256(one).hexdigest() for one in payloads]}, indent=1)
    )
