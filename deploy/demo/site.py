"""The demo site from start to end: start in order, go live, cut and heal, drain, report, stop.

Owns the order of events and what is measured while they happen. Each part is a process of its own and
knows nothing of the demo; what they are told stands in their configuration files.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import secrets
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from deploy.answers import CommandError, Exit
from deploy.demo import backlog, broker, report, simulator, story
from deploy.demo.ask import Ask
from deploy.demo.children import Child, Children, module, telomere
from deploy.demo.cut import Cable
from deploy.demo.layout import Layout
from deploy.demo.report import Measured
from deploy.demo.tell import Teller
from edge.config import EdgeConfig, load
from edge.drivers.replay import Log, Progress, Replayer, ReplayError
from gateway.contract.events import time_text
from gateway.contract.reading import PointName
from gateway.outbox.model import OutboxStatus
from gateway.outbox.store import Outbox

BORN_S: Final = 20.0
"""For both gateways' births to be in the collector."""
DRAIN_S: Final = 60.0
WATCH_S: Final = 0.25
TOLD_EVERY_S: Final = 5.0
USER: Final = "admin"
PASSWORD_FILE: Final = "initial-password"  # noqa: S105 - a file's name

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line asked for."""

    layout: Layout
    history_s: int
    logs: tuple[Log, ...]
    exit_after_s: float | None
    report: Path | None
    json: bool
    tell: bool = False
    """Tell the story by its answers once everything runs, then end."""


class Site:
    """`run` to its end; `close` stops everything that was started, whatever had happened."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._layout = options.layout
        self._children = Children(options.layout.logs)
        self._token = secrets.token_urlsafe(32)
        self._ask = Ask(options.layout.url, self._token)
        ports = options.layout.ports
        self._cable = Cable(target_host=broker.HOST, target_port=ports.broker, port=ports.cable)
        self._outboxes: dict[str, Outbox] = {}
        self._agents: list[Child] = []
        self._measured = Measured()
        self._progress = Progress()
        self._stack = AsyncExitStack()

    async def run(self) -> int:
        """Until `exit_after_s`, or for ever. Raises CommandError for what cannot be started."""
        told = await self._start()
        ready_at = time.monotonic()
        if self._options.tell:
            return await self._tell(told)
        await self._announce(told)
        async with asyncio.TaskGroup() as tasks:
            background = [tasks.create_task(work) for work in (self._watch(), self._cut(ready_at))]
            replaying = tasks.create_task(self._replay())
            background.append(tasks.create_task(self._tell_progress()))
            if self._options.exit_after_s is None:
                await asyncio.Event().wait()
            await asyncio.sleep(ready_at + (self._options.exit_after_s or 0.0) - time.monotonic())
            await replaying
            self._heal()
            await self._drain()
            for task in background:
                task.cancel()
        return await self._report()

    async def close(self) -> None:
        """Stop the children, the broker last, and let go of files and ports."""
        names = [name for name in self._children.running if name != "broker"]
        if names:
            await self._children.stop(*names)
        await self._children.stop()
        await self._stack.aclose()
        await self._cable.close()
        await self._ask.close()

    # --- starting -------------------------------------------------------------------------------

    async def _start(self) -> story.Story:
        layout = self._layout
        layout.write(self._options.logs)
        await self._cable.start()
        await broker.start(self._children, layout.folder, layout.ports.broker)
        env = {"TELOMERE_SERVICE_TOKEN": self._token}
        command = telomere("collector", "run", "--config", str(layout.collector_toml))
        await self._children.start("collector", command, env=env)
        nodes = [story.SUITE, story.COLD, *([story.REPLAY] if self._options.logs else ())]
        configs = {node: load(layout.edge_toml(node)).config for node in nodes}
        told, is_new = await asyncio.to_thread(self._past, configs)
        for node, config in configs.items():
            outbox = Outbox.open(config.outbox_path, now_ns=time.time_ns, config=config.outbox)
            self._outboxes[node] = outbox
            self._stack.callback(outbox.close)
        await self._children.start("simulator", module("deploy.demo.simulator", str(self._layout.site_json)))
        await self._ask.until_alive(self._children)
        if is_new:
            await self._ask.register(told, list(_site_points(configs)))
        for node in nodes:
            command = telomere("edge", "run", "--config", str(layout.edge_toml(node)))
            self._agents.append(await self._children.start(node, command))
        await self._until_born(set(nodes))
        return told

    def _past(self, configs: Mapping[str, EdgeConfig]) -> tuple[story.Story, bool]:
        """The story, and whether it was begun now: a folder that holds a site goes on where it was."""
        kept = simulator.kept_story(self._layout.folder)
        if kept is not None:
            return kept, False
        told = story.Story(int(time.time()) - self._options.history_s, self._options.history_s)
        plants = {name: simulator.make_plant(name, told) for name in story.KINDS}
        for node in (story.SUITE, story.COLD):
            made = backlog.make(configs[node], told, plants)
            log.info("backlog made", node=node, segments=made.segments, readings=made.readings)
        gateways = [self._layout.edge_toml(node) for node in (story.SUITE, story.COLD)]
        simulator.save(self._layout.site_json, told, plants.values(), gateways)
        return told, True

    async def _until_born(self, nodes: set[str]) -> None:
        try:
            async with asyncio.timeout(BORN_S):
                while not nodes <= {str(node["node"]) for node in await self._ask.nodes()}:
                    self._children.require_alive()
                    await asyncio.sleep(0.1)
        except TimeoutError:
            problem = (
                f"the gateways {', '.join(sorted(nodes))} did not reach the collector within {BORN_S:.0f} s"
            )
            raise CommandError(problem, hint=f"see {self._layout.logs}", code=Exit.UNREACHABLE) from None

    async def _announce(self, told: story.Story) -> None:
        password = await asyncio.to_thread(self._password)
        token = await self._ask.operator_token() or self._token
        if self._options.json:
            document = {"url": self._layout.url, "token": token, "user": USER, "password": password}
            print(json.dumps(document), flush=True)
            return
        print(f"The demo site is running.\n\n  page      {self._layout.url}")
        print(
            f"  sign in   {USER} / {password}" if password else f"  sign in   {USER} / as at its first start"
        )
        print(f"  token     {token}   (for TELOMERE_TOKEN)\n  folder    {self._layout.folder}")
        print(
            f"  scan page {self._layout.scan_url}   (of {story.SUITE})\n"
            f"  story     since {time_text(told.time(0))}; the uplink of {story.COLD} is cut in"
            f" {story.CUT_AFTER_S:.0f} s for {story.CUT_S:.0f} s\n\nCtrl-C ends it.",
            flush=True,
        )

    async def _tell(self, told: story.Story) -> int:
        password = await asyncio.to_thread(self._password)
        if password is None:
            raise CommandError("--story needs a new site", hint="give another --dir, or none")
        await self._ask.until_story(told)
        teller = Teller(url=self._layout.url, password=password, scan_page=self._layout.scan_url, told=told)
        return await teller.tell()

    def _password(self) -> str | None:
        """What the collector left beside its data at its first start, or None when somebody took it away."""
        path = self._layout.collector_data / PASSWORD_FILE
        return path.read_text(encoding="utf-8").strip() if path.exists() else None

    # --- live -----------------------------------------------------------------------------------

    def _status(self, node: str) -> OutboxStatus:
        return self._outboxes[node].status()

    async def _statuses(self) -> dict[str, OutboxStatus]:
        return await asyncio.to_thread(lambda: {node: self._status(node) for node in self._outboxes})

    async def _watch(self) -> None:
        """The deepest backlog, and whether everybody is still there."""
        while True:
            self._children.require_alive()
            depth = sum(status.depth_segments for status in (await self._statuses()).values())
            self._measured.backlog_peak_segments = max(self._measured.backlog_peak_segments, depth)
            await asyncio.sleep(WATCH_S)

    async def _cut(self, ready_at: float) -> None:
        await asyncio.sleep(ready_at + story.CUT_AFTER_S - time.monotonic())
        outage: dict[str, str | None] = {"node": story.COLD, "from": _now(), "to": None}
        self._measured.outages.append(outage)
        self._cable.cut()
        log.info("uplink cut", node=story.COLD, seconds=story.CUT_S)
        await asyncio.sleep(story.CUT_S)
        self._heal()
        healed_at = time.monotonic()
        held = (await asyncio.to_thread(self._status, story.COLD)).last_number
        while (await asyncio.to_thread(self._status, story.COLD)).upto < held:  # noqa: ASYNC110 - another process
            await asyncio.sleep(WATCH_S)
        self._measured.drain_s = round(time.monotonic() - healed_at, 2)
        log.info("outage drained", node=story.COLD, seconds=self._measured.drain_s)

    def _heal(self) -> None:
        """After CUT_S, or earlier when the demo ends before."""
        self._cable.heal()
        for outage in self._measured.outages:
            outage["to"] = outage["to"] or _now()

    async def _replay(self) -> None:
        if not self._options.logs:
            return
        before = (await asyncio.to_thread(self._status, story.REPLAY)).readings_sampled
        replayer = Replayer(
            host=broker.HOST,
            port=self._layout.ports.broker,
            client_id="replayer",
            logs=self._options.logs,
            stored=lambda: self._status(story.REPLAY).readings_sampled - before,
            progress=self._progress,
        )
        try:
            await replayer.run()
        except ReplayError as error:
            raise CommandError(f"--replay {error}", hint="mend or leave out that line") from error

    async def _tell_progress(self) -> None:
        """Rows of the replay on stderr, until all are receipted."""
        if not self._options.logs:
            return
        last = ""
        while True:
            status = await asyncio.to_thread(self._status, story.REPLAY)
            done = self._progress.finished.is_set() and status.depth_segments == 0
            line = f"{self._progress.published} rows published, {self._progress.stored} stored, "
            line += f"{status.depth_readings} readings without receipt"
            if line != last:
                print(f"replay: {line}{'; finished' if done else ''}", file=sys.stderr, flush=True)
            if done:
                return
            last = line
            await asyncio.sleep(TOLD_EVERY_S)

    # --- the end --------------------------------------------------------------------------------

    async def _drain(self) -> None:
        """Sampling ends, outboxes drain within DRAIN_S, then the agents stop."""
        for agent in self._agents:
            agent.signal(signal.SIGUSR1)
        log.info("sampling ended, draining")
        deadline = time.monotonic() + DRAIN_S
        quiet_rounds = 0
        while time.monotonic() < deadline and quiet_rounds < 4:
            statuses = (await self._statuses()).values()
            empty = all(status.depth_segments == status.parked for status in statuses)
            # An agent may need a moment to flush its last readings after the signal.
            quiet_rounds = quiet_rounds + 1 if empty else 0
            await asyncio.sleep(WATCH_S)

    async def _report(self) -> int:
        names = [agent.name for agent in self._agents]
        await self._children.stop(*names)
        statuses = list((await self._statuses()).values())
        document, account = await report.build(
            self._ask, url=self._layout.url, outboxes=statuses, measured=self._measured
        )
        if self._options.report is not None:
            text = json.dumps(document, indent=2, ensure_ascii=False)
            await asyncio.to_thread(self._options.report.write_text, text + "\n", encoding="utf-8")
        summary: dict[str, Any] = {
            "sampled": account.sampled,
            "committed": account.committed,
            "lost": account.lost,
            "parked": account.parked,
            "waiting": account.waiting,
            "segments_missing": account.segments_missing,
        }
        log.info("the account is closed" if account.is_closed else "the account does NOT close", **summary)
        return int(Exit.FINE if account.is_closed else Exit.FINDING)


def _site_points(configs: Mapping[str, EdgeConfig]) -> Iterator[PointName]:
    """Every point of the story's own equipment; a replayed log belongs to nobody."""
    for node, config in configs.items():
        for binding in config.bindings():
            if binding.device in story.KINDS:
                yield PointName(story.GROUP, node, binding.device, binding.name)


def _now() -> str:
    return time_text(dt.datetime.now(dt.UTC))
