"""The faults themselves: each is done to the site and healed again before it returns.

Owns one coroutine a kind, by name (`plan.KINDS`). What a fault needs undisturbed is locked by the
caller. Each returns a few words on what it did, for the campaign's record.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from tests.outside import eventually, telomere
from tests.soak.field import UNITS
from tests.soak.proxy import Proxy, Trap, Way
from tests.soak.site import GATEWAYS, Site, Victim, free_bytes

RECEIPT: Final = b"Outbox/Acknowledge"
TRAP_S: Final = 20.0
"""A receipt goes out several times a second; with a link cut, a little later."""
DRAIN_S: Final = 45.0
DOWN_S: Final = (0.0, 3.0)
LOADING_S: Final = 5.0
SETTLE_S: Final = 1.5
"""Over three flush intervals: a clock's setting is on disk before anything else happens to the agent."""

Does = Callable[[Site, str, random.Random], Awaitable[str]]


async def _pause(draw: random.Random, low_s: float, high_s: float) -> float:
    pause_s = draw.uniform(low_s, high_s)
    await asyncio.sleep(pause_s)
    return pause_s


# --- a program is killed


async def _killed(site: Site, name: str, draw: random.Random) -> str:
    await site.kill(name)
    down_s = await _pause(draw, *DOWN_S)
    await site.victims[name].start()
    return f"down for {down_s:.1f} s"


async def _killed_in_start(site: Site, name: str, draw: random.Random) -> str:
    """Twice: the second time somewhere in its start."""
    await site.kill(name)
    await site.victims[name].start()
    alive_s = await _pause(draw, 0.2, 3.0)
    await site.kill(name)
    await site.victims[name].start()
    return f"again {alive_s:.1f} s after its start"


async def _killed_in_fsync(site: Site, name: str, draw: random.Random) -> str:
    """The shim holds the next sync of the store's log, before or after the real one, until the kill."""
    victim = site.victims[name]
    when = draw.choice(("before", "after"))
    part = draw.choice(("outbox.db", "outbox.db-wal") if name in GATEWAYS else ("ledger.db", "ledger.db-wal"))
    (victim.shim / "hold").write_text(f"{when}\n{part}\n", encoding="utf-8")
    inside = victim.shim / "inside"
    try:
        held = await _until(inside.exists, TRAP_S)
        await _pause(draw, 0.0, 0.2)
        await site.kill(name)
    finally:
        for file in (victim.shim / "hold", inside):
            file.unlink(missing_ok=True)
    await _pause(draw, 0.0, 1.0)
    await victim.start()
    return f"{when} the sync of {part}" if held else "no sync came: at a random moment"


async def _killed_at_receipt(site: Site, name: str, *, link: Proxy, trap: Trap, draw: random.Random) -> str:
    link.trap = trap
    caught = True
    try:
        async with asyncio.timeout(TRAP_S):
            await trap.caught.wait()
    except TimeoutError:
        caught = False
    link.trap = None
    await site.kill(name)
    await _pause(draw, *DOWN_S)
    await site.victims[name].start()
    return "at a receipt" if caught else "no receipt came: at a random moment"


async def _agent_on_receipt(site: Site, name: str, draw: random.Random) -> str:
    """Between receipt and settle: the receipt is delivered, and in the same moment the agent dies."""
    trap = Trap(Way.DOWN, RECEIPT, keep=False)
    return await _killed_at_receipt(site, name, link=site.links[name], trap=trap, draw=draw)


async def _collector_before_receipt(site: Site, name: str, draw: random.Random) -> str:
    """Between commit and receipt: the receipt is kept back, and the collector dies."""
    trap = Trap(Way.UP, RECEIPT, keep=True)
    return await _killed_at_receipt(site, name, link=site.links[name], trap=trap, draw=draw)


async def _collector_after_receipt(site: Site, name: str, draw: random.Random) -> str:
    trap = Trap(Way.UP, RECEIPT, keep=False)
    return await _killed_at_receipt(site, name, link=site.links[name], trap=trap, draw=draw)


async def _restarted(site: Site, name: str, draw: random.Random) -> str:
    """A clean stop loses nothing: it is not written down for the judge.

    A program that is still loading has no handler yet: SIGTERM ends it as the system does, which is fine.
    """
    loads = not site.victims[name].is_loaded
    code = await site.victims[name].stop()
    if code != 0 and not (loads and code == -signal.SIGTERM):
        site.crashes.append(f"{name} answered SIGTERM with exit code {code}")
    await _pause(draw, *DOWN_S)
    await site.victims[name].start()
    return f"exit code {code}"


async def _broker_killed(site: Site, name: str, draw: random.Random) -> str:
    await site.broker.kill()
    down_s = await _pause(draw, *DOWN_S)
    await site.broker.start()
    return f"down for {down_s:.1f} s"


async def _broker_frozen(site: Site, name: str, draw: random.Random) -> str:
    assert site.broker.process is not None
    site.broker.process.send_signal(signal.SIGSTOP)
    try:
        frozen_s = await _pause(draw, 1.0, 8.0)
    finally:
        site.broker.process.send_signal(signal.SIGCONT)
    return f"for {frozen_s:.1f} s"


# --- disks and clocks


async def _disk_full(site: Site, name: str, draw: random.Random) -> str:
    """Nothing fits any more, for a while. A real small disk where one can be mounted, else the shim.

    Sometimes under a program that is just starting: it waits for room and goes on.
    """
    victim = site.victims[name]
    if draw.random() < 0.5:
        await asyncio.sleep(max(0.0, victim.started_at + LOADING_S - time.monotonic()))
    if not site.has_disks:
        (victim.shim / "full").write_text(f"{victim.data}\n", encoding="utf-8")
        try:
            full_s = await _pause(draw, 1.0, 6.0)
        finally:
            (victim.shim / "full").unlink()
        return f"simulated by the shim for {full_s:.1f} s"
    filler = victim.data.parent / "filler"
    until = time.monotonic() + draw.uniform(1.0, 6.0)
    try:
        with filler.open("wb", buffering=0) as file:
            while time.monotonic() < until:
                with contextlib.suppress(OSError):
                    while free_bytes(filler.parent) > 0 and file.write(bytes(1 << 16)):
                        pass
                await asyncio.sleep(0.05)
    finally:
        filler.unlink()
    await asyncio.sleep(SETTLE_S)
    return "a real small disk"


async def _clock_step(site: Site, name: str, draw: random.Random) -> str:
    """The wall clock is set, forwards or back, and later set right; sometimes while the agent is down."""
    step_s = draw.choice((-1, 1)) * draw.choice((0.7, 3.0, 20.0, 3600.0))
    down = draw.random() < 0.3
    for offset_s in (step_s, 0.0):
        if down:
            await site.kill(name)
        site.set_clock(name, offset_s)
        if down:
            await site.victims[name].start()
        await _pause(draw, SETTLE_S, SETTLE_S + 3)
    return f"{step_s:+g} s and back{', each time while it was down' if down else ''}"


# --- links and devices


async def _cut(link: Proxy, draw: random.Random) -> str:
    link.cut()
    return f"for {await _pause(draw, 0.5, 8.0):.1f} s"


async def _stall(link: Proxy, draw: random.Random) -> str:
    link.stall()
    return f"for {await _pause(draw, 1.0, draw.choice((4.0, 25.0))):.1f} s"


async def _crawl(link: Proxy, draw: random.Random) -> str:
    link.crawl_s = draw.uniform(0.005, 0.05)
    return f"for {await _pause(draw, 2.0, 8.0):.1f} s"


async def _drop(link: Proxy, draw: random.Random) -> str:
    for _ in range(draw.randint(1, 4)):
        link.drop()
        await _pause(draw, 0.1, 1.5)
    return "connections ended"


async def _loses(link: Proxy, draw: random.Random) -> str:
    link.lose_share = draw.choice((0.1, 0.3, 0.6))
    before = link.lost
    await _pause(draw, 3.0, 10.0)
    return f"{link.lose_share:.0%}: {link.lost - before} messages"


async def _repeats(link: Proxy, draw: random.Random) -> str:
    link.repeat_share = draw.choice((0.2, 0.5, 1.0))
    before = link.repeated
    await _pause(draw, 3.0, 10.0)
    return f"{link.repeat_share:.0%}: {link.repeated - before} messages"


def _on_link(act: Callable[[Proxy, random.Random], Awaitable[str]], *, sensors: bool = False) -> Does:
    async def does(site: Site, name: str, draw: random.Random) -> str:
        link = (site.sensor_links if sensors else site.links)[name]
        try:
            return await act(link, draw)
        finally:
            link.heal()

    return does


async def _device_mute(site: Site, name: str, draw: random.Random) -> str:
    """A device reads its questions and answers none."""
    unit = draw.choice(sorted(UNITS))
    site.tell_field("mute", name, str(unit))
    try:
        return f"{UNITS[unit]} for {await _pause(draw, 0.5, 9.0):.1f} s"
    finally:
        site.tell_field("speak", name, str(unit))


# --- damage that the other side's disk makes good


async def _projection_lost(site: Site, name: str, draw: random.Random) -> str:
    """What is derived can be derived again."""
    await site.kill(name)
    data = site.victims[name].data
    for file in data.glob("projection.db*"):
        file.unlink()
    await site.victims[name].start()
    return "projection.db deleted"


async def _collector_destroyed(site: Site, name: str, draw: random.Random) -> str:
    """The collector's disk is gone and there is no backup: gateways send again what they keep."""
    victim = site.victims[name]
    await site.kill(name, why="damage")
    shutil.rmtree(victim.data)
    await _pause(draw, *DOWN_S)
    await victim.start()
    return "began anew with an empty folder"


async def _collector_restored(site: Site, name: str, draw: random.Random) -> str:
    """Backup while running, load, the disk destroyed, restore."""
    victim = site.victims[name]
    await eventually(site.api.ready, is_good=bool, timeout_s=DRAIN_S, what="there is something to back up")
    backup = victim.data.parent / "backup"
    shutil.rmtree(backup, ignore_errors=True)
    config = str(site.folder / "collector.toml")
    made = await telomere("collector", "backup", "--config", config, str(backup))
    if made.code == 2:
        return f"NOT BUILT: {made.err.strip()[:80]}"
    assert made.code == 0, made.err
    await _pause(draw, 2.0, 8.0)
    await site.kill(name, why="damage")
    shutil.rmtree(victim.data)
    done = await telomere("collector", "restore", "--config", config, str(backup))
    assert done.code == 0, done.err
    await victim.start()
    return "restored from a backup made while it ran"


async def _ledger_torn(site: Site, name: str, draw: random.Random) -> str:
    """Beyond a power cut: the ledger gets another id, and the gateways send again what they keep."""
    await site.kill(name, why="damage")
    did = _tear(site.victims[name], "ledger.db-wal", draw)
    await site.victims[name].start()
    return did


async def _outbox_torn(site: Site, name: str, draw: random.Random) -> str:
    """The log loses its tail: beyond a power cut, so what it held alone must be declared."""
    await site.kill(name, why="damage")
    did = _tear(site.victims[name], "outbox.db-wal", draw)
    await site.victims[name].start()
    return did


def _tear(victim: Victim, name: str, draw: random.Random) -> str:
    """Cut the file off, or scribble over a place in it."""
    file = victim.data / name
    size = file.stat().st_size if file.exists() else 0
    if size == 0:
        return f"{name} was empty"
    at = draw.randrange(size)
    if draw.random() < 0.6:
        os.truncate(file, at)
        return f"{name} cut from {size} to {at} bytes"
    with file.open("r+b") as out:
        out.seek(at)
        out.write(draw.randbytes(min(512, size - at)))
    return f"{name} scribbled over at {at} of {size}"


async def _gateway_rolled_back(site: Site, name: str, draw: random.Random) -> str:
    """A copy of the data folder, made while stopped, comes back later; all in between was receipted."""
    victim = site.victims[name]
    image = victim.data.parent / "image"
    await victim.stop()
    shutil.rmtree(image, ignore_errors=True)
    shutil.copytree(victim.data, image)
    await victim.start()
    await _pause(draw, 3.0, 8.0)
    await victim.end_sampling()  # the uplink goes on
    try:
        await asyncio.sleep(1.0)
        await site.drained(name, timeout_s=DRAIN_S)
    except AssertionError:
        await victim.stop()
        await victim.start()
        return "SKIPPED: it did not drain, so nothing may be rolled back"
    await victim.stop()
    shutil.rmtree(victim.data)
    image.rename(victim.data)
    await _pause(draw, 0.0, 1.0)
    await victim.start()
    return "rolled back to its image"


async def _until(is_so: Callable[[], bool], timeout_s: float) -> bool:
    async def ask() -> bool:
        return is_so()

    try:
        await eventually(ask, is_good=bool, timeout_s=timeout_s, what="")
    except AssertionError:
        return False
    return True


DOES: Final[Mapping[str, Does]] = {
    "kill_agent": _killed,
    "kill_agent_in_fsync": _killed_in_fsync,
    "kill_agent_on_receipt": _agent_on_receipt,
    "kill_agent_in_start": _killed_in_start,
    "restart_agent": _restarted,
    "agent_disk_full": _disk_full,
    "agent_clock_step": _clock_step,
    "device_mute": _device_mute,
    "sensor_link_cut": _on_link(_cut, sensors=True),
    "sensor_link_stall": _on_link(_stall, sensors=True),
    "sensor_link_drop": _on_link(_drop, sensors=True),
    "link_cut": _on_link(_cut),
    "link_stall": _on_link(_stall),
    "link_crawl": _on_link(_crawl),
    "link_drop": _on_link(_drop),
    "link_loses": _on_link(_loses),
    "link_repeats": _on_link(_repeats),
    "kill_broker": _broker_killed,
    "broker_frozen": _broker_frozen,
    "kill_collector": _killed,
    "kill_collector_in_fsync": _killed_in_fsync,
    "kill_collector_before_receipt": _collector_before_receipt,
    "kill_collector_after_receipt": _collector_after_receipt,
    "kill_collector_in_start": _killed_in_start,
    "collector_disk_full": _disk_full,
    "collector_clock_step": _clock_step,
    "projection_lost": _projection_lost,
    "collector_destroyed": _collector_destroyed,
    "collector_restored": _collector_restored,
    "ledger_torn": _ledger_torn,
    "outbox_torn": _outbox_torn,
    "gateway_rolled_back": _gateway_rolled_back,
}
