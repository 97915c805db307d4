"""Bodies of `telomere edge …`: what the commands do once the command line has been read.

Each returns its exit code; what goes wrong becomes a CommandError's sentence. Answers go to stdout,
logs to stderr. Must not know how the agent works inside.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json as jsonlib
import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, cast

from deploy.answers import CommandError, Exit
from edge.config import ConfigError, EdgeConfig, Loaded, load, loads
from gateway.contract.events import Event, Note, Scan
from gateway.outbox.model import OutboxError
from gateway.outbox.store import Outbox

Act = Literal["put_in", "take_out", "move", "receive", "hand_over"]


def check(config: Path, *, json: bool) -> int:
    """Everything that is wrong or odd, at once. Exit 2 when the agent would not start."""
    try:
        loaded = load(config)
    except ConfigError as error:
        if not json:
            raise
        print(_document({"ok": False, "faults": [asdict(fault) for fault in error.faults], "warnings": []}))
        return int(Exit.USAGE)
    summary = _summary(loaded.config)
    if json:
        told = [asdict(fault) for fault in loaded.warnings]
        print(_document({"ok": True, "faults": [], "warnings": told, **summary}))
        return int(Exit.FINE)
    for warning in loaded.warnings:
        print(f"warning: {warning}")
    print(
        f"{config} is good: {summary['node']}, {summary['devices']} devices with {summary['points']} points,"
        f" {summary['requests']} Modbus requests, {summary['limits']} limits"
    )
    return int(Exit.FINE)


def plan(config: Path, *, json: bool) -> int:
    """Requests and bus loads (share of the time that a line is held, estimated). Asks no device."""
    loaded = load(config).config
    load_of = {**dict.fromkeys(loaded.buses, 0.0), **loads(loaded.devices)}
    requests: list[dict[str, Any]] = [
        {
            "bus": device.bus,
            "device": device.id,
            "unit": device.unit,
            "table": request.table.value,
            "address": request.address,
            "count": request.count,
            "points": [point.name for point in request.points],
            "period_ms": request.period_ms,
            "line_ms": round(device.cost.ms(request.table, request.count), 2),
        }
        for device in loaded.devices
        for request in device.requests
    ]
    buses = [{"id": name, "load": round(load, 4)} for name, load in load_of.items()]
    if json:
        print(_document({"requests": requests, "buses": buses}))
        return int(Exit.FINE)
    for one in requests:
        print(
            f"{one['bus']}  {one['device']} unit {one['unit']}  {one['table']} {one['address']}"
            f"+{one['count']} every {one['period_ms']} ms: {', '.join(one['points'])}"
        )
    for name, share in load_of.items():
        print(f"{name}: busy {share:.1%} of the time")
    return int(Exit.FINE)


def probe(config: Path, *, listen_s: float, json: bool) -> int:
    """Every point once. Exit 3 when a point gave no reading at all, 1 when a reading is not good."""
    from edge.app import SystemClocks
    from edge.drivers.probe import probe as ask

    loaded = load(config)
    found = asyncio.run(ask(loaded.config, clocks=SystemClocks(), listen_s=listen_s))
    rows = [{**asdict(one), "time": _time(one.time_ms)} for one in found]
    for row in rows:
        del row["time_ms"]
    if json:
        print(_document({"points": rows}))
    else:
        for row in rows:
            said = "-" if row["value"] is None else f"{row['value']} {row['unit']}"
            why = f" ({row['reason']})" if row["reason"] else ""
            print(f"{row['device']}/{row['name']}  {said}  {row['quality']}{why}  {row['time'] or '-'}")
    if any(one.time_ms is None for one in found):
        return int(Exit.UNREACHABLE)
    return int(Exit.FINE if all(one.quality == "good" for one in found) else Exit.FINDING)


def guess(config: Path, *, json: bool) -> int:
    """Ways of reading each device, the most plausible first. Exit 1 when it is not the profile's own."""
    from edge.app import SystemClocks
    from edge.drivers.guess import guess as ask

    found = asyncio.run(ask(load(config).config, clocks=SystemClocks()))
    best: dict[str, Any] = {}
    for one in found:
        best.setdefault(one.device, one)
    if json:
        print(_document({"guesses": [asdict(one) for one in found]}))
    else:
        for one in found:
            if one.plausible < best[one.device].plausible:
                continue
            base = {0: "", -1: ", addresses one lower", 1: ", addresses one higher"}[one.shift]
            own = " (as the profile says)" if one.as_written else ""
            print(f"{one.device}  {one.order}{base}: {one.plausible} of {one.points} plausible{own}")
            print("  " + ", ".join(f"{name} {value}" for name, value in one.values.items()))
    return int(Exit.FINE if all(one.as_written for one in best.values()) else Exit.FINDING)


def _time(time_ms: int | None) -> str | None:
    if time_ms is None:
        return None
    when = dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def run(config: Path) -> int:
    """The agent, until SIGTERM or Ctrl-C; SIGUSR1 ends sampling and lets the outbox drain.

    An absent broker or device never ends it.
    """
    loaded = load(config)
    with _outbox_sentences():
        asyncio.run(_run(loaded))
    return int(Exit.FINE)


async def _run(loaded: Loaded) -> None:
    import structlog

    from edge.app import Agent, BusyFolderError

    log = structlog.get_logger()
    for warning in loaded.warnings:
        log.warning("configuration", key=warning.key, problem=warning.problem)
    stop, quiet = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, quiet.set)
    log.info("agent starts", config=str(loaded.config.path), **_summary(loaded.config))
    try:
        await Agent(loaded.config).run(stop, quiet=quiet)
    except BusyFolderError as error:
        raise CommandError(
            str(error), hint="stop the other agent, or give this one its own data_dir"
        ) from error
    log.info("agent stopped")


def event(
    config: Path,
    *,
    kind: str,
    act: str | None,
    batch: str,
    equipment: str,
    effective: dt.datetime | None,
    party: str,
    actor: str,
    note: str,
    json: bool,
) -> int:
    """Appends one scan or note, made now; `effective` is aware UTC when it truly happened earlier."""
    from edge.app import SystemClocks, append_event

    now = dt.datetime.now(dt.UTC)
    made: Event
    if kind == "scan":
        if effective is not None and effective > now:
            raise CommandError("--effective lies in the future", hint="give the time at which it happened")
        made = Scan(
            id=uuid.uuid4().hex,
            time=now,
            actor=actor,
            note=note,
            act=cast("Act", act),
            batch=batch,
            equipment=equipment,
            effective=effective,
            party=party,
        )
    else:
        made = Note(id=uuid.uuid4().hex, time=now, actor=actor, note=note, batch=batch, equipment=equipment)
    with _open(load(config).config) as outbox:
        segment = append_event(outbox, SystemClocks(), made)
    if json:
        print(_document({"id": made.id, "segment": str(segment), "event": made.model_dump(mode="json")}))
    else:
        print(f"kept as segment {segment.number}; it travels when the uplink does (event {made.id})")
    return int(Exit.FINE)


def outbox(config: Path, *, json: bool) -> int:
    """Depth, oldest, forecast, parked, quarantine. Exit 1 when readings were lost."""
    from edge.keep.intake import OPEN_ABSENCES
    from edge.keep.quarantine import Quarantine

    loaded = load(config).config
    if not loaded.outbox_path.exists():
        hint = "it is made when the agent first runs: telomere edge run --config " + str(config)
        raise CommandError(f"there is no outbox at {loaded.outbox_path} yet", hint=hint)
    with _open(loaded) as store:
        told = store.status()
        status = asdict(told) | {"over_limit": told.over_limit}
        recovery = store.last_recovery()
        absent = jsonlib.loads(store.recall(OPEN_ABSENCES) or "[]")
    status["quarantined_messages"] = Quarantine(loaded.gateway.data_dir).count()
    status["absent"] = sorted(point for one in absent for point in one["points"])
    status["recovery"] = None if recovery is None else str(recovery)
    if json:
        print(_document(status))
    else:
        print(_sentences(status))
    return int(Exit.FINDING if status["readings_lost"] or status["segments_lost"] else Exit.FINE)


# -- parts


def _summary(config: EdgeConfig) -> dict[str, Any]:
    heard = [device for source in config.sources for device in source.devices]
    return {
        "node": f"{config.gateway.group}/{config.gateway.node}",
        "devices": len(config.devices) + len(heard),
        "points": len(config.bindings()),
        "requests": sum(len(device.requests) for device in config.devices),
        "limits": len(config.limits),
        "config_hash": config.hash,
        "limits_hash": config.limits_hash,
    }


@contextmanager
def _open(config: EdgeConfig) -> Iterator[Outbox]:
    from edge.app import open_outbox

    with _outbox_sentences():
        store = open_outbox(config)
        try:
            yield store
        finally:
            store.close()


@contextmanager
def _outbox_sentences() -> Iterator[None]:
    try:
        yield
    except OutboxError as error:
        raise CommandError(f"{error.what} failed at {error.where}: {error.cause}", hint=error.hint) from error


def _sentences(status: dict[str, Any]) -> str:
    oldest, full = status["oldest_ms"], status["forecast_full_s"]
    since = (
        "-"
        if oldest is None
        else dt.datetime.fromtimestamp(oldest / 1000, dt.UTC).isoformat(timespec="seconds")
    )
    lines = [
        f"epoch {status['epoch']}, last segment {status['last_number']}, receipted up to {status['upto']}",
        (
            f"waiting: {status['depth_segments']} segments, {status['depth_readings']} readings,"
            f" {status['bytes'] / 1e6:.1f} MB, oldest {since}"
        ),
        (
            f"kept on disk: {status['bytes_kept'] / 1e6:.1f} of {status['bytes_max'] / 1e6:.0f} MB,"
            f" full without receipts in {'-' if full is None else f'{full / 86400:.1f} days'}"
            f"{', OVER ITS LIMIT' if status['over_limit'] else ''}"
            f"{f', past {level} %' if (level := status['fill_level']) else ''}"
        ),
        (
            f"parked {status['parked']}, damaged segments in quarantine {status['segments_quarantined']},"
            f" damaged files {status['quarantined']},"
            f" unusable messages in quarantine {status['quarantined_messages']}"
        ),
        (
            f"sampled {status['readings_sampled']} readings, lost {status['readings_lost']}"
            f" in {status['segments_lost']} segments"
        ),
    ]
    lines += [
        f"ended epoch {past['epoch']} ({past['cause']}): {past['kept_segments']} segments kept,"
        f" {past['depth_segments']} of them without receipt"
        for past in status["past"]
    ]
    if status["absent"]:
        lines.append(f"without readings at last: {', '.join(status['absent'])}")
    if status["recovery"]:
        lines.append(status["recovery"])
    return "\n".join(lines)


def _document(content: dict[str, Any]) -> str:
    return jsonlib.dumps(content, ensure_ascii=False, sort_keys=True, default=str)
