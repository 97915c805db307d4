"""An agent deletes what was receipted more than `keep_receipted_days` ago, and nothing else."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from gateway.contract.receipts import Receipt
from gateway.outbox.model import Stored
from gateway.outbox.store import Outbox
from tests import agents, outboxes
from tests.brokers import free_port


@pytest.mark.parametrize(("keep_days", "kept"), [(0, [3, 4]), (7, [1, 2, 3, 4])])
async def test_what_was_receipted_long_ago_goes(tmp_path: Path, keep_days: int, kept: list[int]) -> None:
    config = agents.site(
        tmp_path,
        f'[outbox]\nkeep_receipted_days = {keep_days}\n[[bus]]\nid = "b"\nurl = "tcp://127.0.0.1:{free_port()}"\n'
        '[[device]]\nid = "D"\nbus = "b"\nprofile = "counter@1"\n',
    )
    config.gateway.data_dir.mkdir(parents=True)
    with Outbox.open(config.outbox_path, now_ns=time.time_ns, config=config.outbox) as outbox:
        outbox.append([outboxes.a_draft() for _ in range(4)])
        receipt = Receipt(host="telomere", ledger="00" * 8, epoch=outbox.epoch, upto=2)
        assert outbox.settle(receipt, now_ns=time.time_ns() - 10**9).newly == 2
    async with agents.running(config) as agent, asyncio.timeout(10):
        await agent.started.wait()
        while [one.number for one in _of(config.outbox_path)] != kept:
            await asyncio.sleep(0.05)
    assert [one.number for one in _of(config.outbox_path)] == kept


def _of(path: Path) -> list[Stored]:
    with Outbox.open(path, now_ns=time.time_ns) as outbox:
        return outbox.fetch([1, 2, 3, 4])
