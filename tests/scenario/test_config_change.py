"""Another configuration on the same outbox: aliases keep their meaning for ever, no slot is left out."""

from __future__ import annotations

import time
from pathlib import Path

from edge.config import EdgeConfig, load
from gateway.contract.decode import decode_data
from gateway.contract.events import ConfigChange
from gateway.outbox.model import PointBinding
from gateway.outbox.store import Outbox
from tests.agents import COUNTER_PROFILE, running, site, stored
from tests.devices import CountingDevice
from tests.scenario.test_polling import one
from tests.slots import spans


async def live(config: EdgeConfig, device: CountingDevice) -> dict[int, PointBinding]:
    """The agent until three more answers; what the births would list then."""
    async with running(config) as agent:
        await device.until(device.answers + 3)
        assert agent.outbox is not None
        return dict(agent.outbox.bindings())


async def test_an_alias_is_never_used_again(tmp_path: Path) -> None:
    """Profile changed, then a period, then all as at first: a meaning has one alias, and keeps it."""
    device = CountingDevice()
    await device.start()
    first = site(tmp_path, one(device.port), period_ms=50)
    bound = [await live(first, device)]

    wider = COUNTER_PROFILE.replace("uint32", "int64").format(period_ms=50)
    (tmp_path / "profiles/counter.toml").write_text(wider.replace("version = 1", "version = 2"), "utf-8")
    (tmp_path / "edge.toml").write_text(first.path.read_text("utf-8").replace("@1", "@2"), "utf-8")
    bound.append(await live(load(tmp_path / "edge.toml").config, device))
    slower = site(tmp_path, one(device.port) + "points.count.period_ms = 70\n", period_ms=50)
    bound.append(await live(slower, device))
    last = site(tmp_path, one(device.port), period_ms=50)
    bound.append(await live(last, device))
    await device.stop()

    meanings = [
        {alias: (b.device, b.name, b.kind, b.unit, b.profile) for alias, b in some.items()} for some in bound
    ]
    everything = {alias: meaning for some in meanings for alias, meaning in some.items()}
    assert all(everything[alias] == meaning for some in meanings for alias, meaning in some.items())
    assert len(set(everything.values())) == len(everything) == 2
    with Outbox.open(last.outbox_path, now_ns=time.time_ns) as outbox:
        segments = outbox.pending(after=0, count_max=10_000, bytes_max=1 << 30)
    used = [int(key) for s in segments if s.device == "C-1" for key in decode_data(s.body).block.key]
    lives = [alias for n, alias in enumerate(used) if n == 0 or used[n - 1] != alias]
    assert lives == [lives[0], lives[1], lives[0]]
    events = stored(last)[1]
    changes = [event for event in events if isinstance(event, ConfigChange)]
    assert len(changes) == 4
    assert [change.previous_hash for change in changes[1:]] == [change.config_hash for change in changes[:-1]]
    assert all(span.reason == "agent_down" and span.from_ms < span.to_ms for span in spans(events))
