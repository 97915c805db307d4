"""What a damaged store still holds, carried into a new one under its old identity.

Owns the reading of a file whose pages cannot be trusted: every segment is taken by itself, and only
when its digest agrees with its content and with the segment before it. What had no receipt and cannot
be read is declared lost. Must not change the damaged file: it is evidence.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import apsw

from gateway.contract.codec import check_digest
from gateway.contract.reading import NODE_DEVICE
from gateway.contract.segment import NO_PREVIOUS
from gateway.outbox import appending, losing, model, sql

if TYPE_CHECKING:
    from gateway.contract.codec import Data

CHUNK: Final = 128
"""Places read at once while no page refuses."""
PLACES_MAX: Final = 20_000_000
"""A counter that says more than this is damaged itself."""
_DIGEST: Final = re.compile("[0-9a-f]{64}")
CAUSE: Final = "outbox file damaged"

_SEGMENTS: Final = (
    "SELECT rowid, device, digest, priority, readings, appended_ns, settled_ns FROM segment"
    " WHERE rowid BETWEEN ? AND ?"
)
_BODIES: Final = "SELECT rowid, payload FROM body WHERE rowid BETWEEN ? AND ?"
_INSERT: Final = (
    "INSERT INTO segment (place, device, digest, priority, readings, size, bytes_before, first_ms,"
    " appended_ns, settled_ns) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);"
    " INSERT INTO body (place, payload) VALUES (?, ?)"
)


@dataclass(slots=True)
class Epoch:
    """An epoch as the damaged file tells of it: its number n lies at `base` + n."""

    base: int
    last_number: int = 0
    upto: int = 0
    ledger: str | None = None


@dataclass(slots=True)
class Salvaged:
    """What was carried over, and what was not. `lost`: place → (digest or "", readings)."""

    segments: int = 0
    unsettled: int = 0
    readings: int = 0
    unsettled_bytes: int = 0
    bytes: int = 0
    epochs: dict[str, Epoch] = field(default_factory=dict)
    lost: dict[int, tuple[str, int]] = field(default_factory=dict)
    named: bool = False


def carry_over(damaged: apsw.Connection, new: apsw.Connection, *, now_ns: int) -> Salvaged:
    """Fill a new, empty store, in the transaction that the caller opened in it."""
    found = Salvaged()
    _read_epochs(damaged, found)
    found.named = _copy_names(damaged, new)
    _copy_facts(damaged, new)
    _Carrier(damaged, new, found, now_ns=now_ns).run()
    _write_epochs(new, found, now_ns=now_ns)
    _declare(new, found, now_ns=now_ns)
    return found


def _tried(db: apsw.Connection, query: str, values: tuple[Any, ...] = ()) -> list[sql.Row] | None:
    """The rows, None when the file would not give them."""
    try:
        return sql.rows(db, query, values)
    except apsw.Error:
        return None


def _read_epochs(db: apsw.Connection, found: Salvaged) -> None:
    for row in _tried(db, "SELECT epoch, base, last_number, upto, ledger FROM past") or ():
        found.epochs[row[0]] = Epoch(row[1], row[2], row[3], row[4])
    state = _tried(db, "SELECT epoch, last_number, upto, ledger FROM state") or ()
    base = _tried(db, "SELECT base FROM state") or [(0,)]  # a file of the first version has none
    for row in state:
        found.epochs[row[0]] = Epoch(base[0][0], row[1], row[2], row[3])


def _copy_names(damaged: apsw.Connection, new: apsw.Connection) -> bool:
    """Whether the aliases came over whole; else the new store counts its own, under its own epoch."""
    rows = _tried(damaged, "SELECT * FROM alias")
    if rows is None:
        return False
    new.executemany("INSERT INTO alias VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
    return True


def _copy_facts(damaged: apsw.Connection, new: apsw.Connection) -> None:
    rows = _tried(damaged, "SELECT key, value FROM fact") or []
    new.executemany("INSERT INTO fact VALUES (?, ?) ON CONFLICT (key) DO NOTHING", rows)


class _Carrier:
    """One pass over all places, from the lowest to the highest that anything tells of."""

    def __init__(
        self, damaged: apsw.Connection, new: apsw.Connection, found: Salvaged, *, now_ns: int
    ) -> None:
        self._now_ns = now_ns
        self._damaged, self._new, self._found = damaged, new, found
        self._before: tuple[int, str] | None = None
        devices = _tried(damaged, "SELECT DISTINCT device FROM alias") or []
        self._devices = [NODE_DEVICE, *(str(row[0]) for row in devices)]

    def run(self) -> None:
        first, last = self._bounds()
        for start in range(first, last + 1, CHUNK):
            for place, segment, body, refused in self._chunk(start, min(start + CHUNK - 1, last)):
                self._take(place, segment, body, refused=refused)

    def _bounds(self) -> tuple[int, int]:
        ends = [epoch.base + epoch.last_number for epoch in self._found.epochs.values()]
        starts: list[int] = []
        for table in ("segment", "body"):
            for way, out in (("min", starts), ("max", ends)):
                rows = _tried(self._damaged, f"SELECT {way}(rowid) FROM {table}")  # noqa: S608 (constants)
                out += [row[0] for row in rows or () if row[0] is not None]
        last = max(ends, default=0)
        return max(1, min(starts, default=1)), last if last <= PLACES_MAX else 0

    def _chunk(self, first: int, last: int) -> Iterator[tuple[int, sql.Row | None, bytes | None, bool]]:
        """(place, its row, its body, whether the file refused to tell of its row)."""
        rows = _tried(self._damaged, _SEGMENTS, (first, last))
        bodies = _tried(self._damaged, _BODIES, (first, last))
        by_place = {row[0]: row for row in rows or ()}
        body_of = {row[0]: row[1] for row in bodies or ()}
        for place in range(first, last + 1):
            refused = False
            if rows is None:
                one = _tried(self._damaged, _SEGMENTS, (place, place))
                refused = one is None
                by_place |= {row[0]: row for row in one or ()}
            if bodies is None:
                body_of |= {row[0]: row[1] for row in _tried(self._damaged, _BODIES, (place, place)) or ()}
            yield place, by_place.get(place), body_of.get(place), refused

    def _take(self, place: int, segment: sql.Row | None, body: bytes | None, *, refused: bool) -> None:
        data = appending.opened(body) if isinstance(body, bytes) else None
        device = None if data is None else self._device(place, segment, data)
        if data is None or device is None or data.segment is None or body is None:
            self._miss(place, segment, refused=refused)
            return
        identity = data.segment
        self._before = (place, identity.digest)
        epoch = self._found.epochs.setdefault(identity.epoch, Epoch(place - identity.number))
        epoch.last_number = max(epoch.last_number, identity.number)
        if segment is None:
            readings, wall_ns = model.count_readings(data.block), data.clock.wall_ns if data.clock else 0
            settled_ns = self._now_ns if identity.number <= epoch.upto else None
            segment = (place, device, identity.digest, 1, readings, wall_ns, settled_ns)
        self._keep(segment, identity.digest, int(data.block.time_ms[0]), body)

    def _device(self, place: int, segment: sql.Row | None, data: Data) -> str | None:
        """The device whose segment this is, None when the content is not what the digest says."""
        identity = data.segment
        assert identity is not None, "an opened body has an identity"
        known = self._found.epochs.get(identity.epoch)
        if known is not None and known.base + identity.number != place:
            return None
        previous = NO_PREVIOUS if identity.number == 1 else None
        if previous is None and self._before is not None and self._before[0] == place - 1:
            previous = self._before[1]
        if previous is None:
            return str(segment[1]) if segment is not None and segment[2] == identity.digest else None
        candidates = self._devices if segment is None else [str(segment[1])]
        return next((one for one in candidates if check_digest(data, previous=previous, device=one)), None)

    def _keep(self, segment: sql.Row, digest: str, first_ms: int, body: bytes) -> None:
        place, device, _, priority, readings, appended_ns, settled_ns = segment
        found, size = self._found, len(body)
        row = (
            place,
            device,
            digest,
            priority,
            readings,
            size,
            found.bytes,
            first_ms,
            appended_ns,
            settled_ns,
        )
        self._new.execute(_INSERT, (*row, place, body))
        found.segments += 1
        found.bytes += size
        if settled_ns is None:
            found.unsettled += 1
            found.readings += readings
            found.unsettled_bytes += size

    def _miss(self, place: int, segment: sql.Row | None, *, refused: bool) -> None:
        """Lost if it had no receipt; what was receipted and then deleted is only gone."""
        self._before = None
        if segment is not None:
            digest = str(segment[2]) if _DIGEST.fullmatch(str(segment[2])) else ""
            self._before = (place, digest) if digest else None
            if segment[6] is None:
                self._found.lost[place] = (digest, int(segment[4]))
        elif refused and not any(
            epoch.base < place <= epoch.base + epoch.upto for epoch in self._found.epochs.values()
        ):
            self._found.lost[place] = ("", 0)


def _write_epochs(new: apsw.Connection, found: Salvaged, *, now_ns: int) -> None:
    base = max((epoch.base + epoch.last_number for epoch in found.epochs.values()), default=0)
    for name, epoch in found.epochs.items():
        new.execute(
            "INSERT INTO past (epoch, base, last_number, ledger, upto, named, ended_ns, cause)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(name, epoch.base, epoch.last_number, epoch.ledger, epoch.upto),
                *(found.named, now_ns, CAUSE),
            ),
        )
    new.execute(
        "UPDATE state SET base = ?1, sent_place = ?1, depth_segments = ?2, depth_readings = ?3,"
        " depth_bytes = ?4, kept_bytes = ?5, appended_bytes = ?5",
        (base, found.unsettled, found.readings, found.unsettled_bytes, found.bytes),
    )


def _declare(new: apsw.Connection, found: Salvaged, *, now_ns: int) -> None:
    """The statements of loss are the new epoch's first segments."""
    new.execute(
        "UPDATE state SET segments_lost = segments_lost + ?, readings_lost = readings_lost + ?",
        (len(found.lost), sum(readings for _, readings in found.lost.values())),
    )
    for name, epoch in found.epochs.items():
        mine = {
            place - epoch.base: told
            for place, told in found.lost.items()
            if epoch.base < place <= epoch.base + epoch.last_number
        }
        told = list(losing.losses(name, mine, cause=CAUSE, now_ns=now_ns))
        appending.append(new, told, now_ns=now_ns)


@contextlib.contextmanager
def opened(path: str) -> Iterator[apsw.Connection | None]:
    """The damaged file, None when it cannot be opened at all. Closing leaves file and log as they are."""
    db = None
    with contextlib.suppress(apsw.Error):
        db = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)
        db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    try:
        yield db
    finally:
        if db is not None:
            db.close()
