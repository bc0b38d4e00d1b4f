"""The agent's end of the pipe to its worker: an answer is that of its own order, or there is none."""

from __future__ import annotations

import asyncio
import sys

import pytest

from hansa.fedclient import workshop
from hansa.fedclient.workshop import WorkerDied, Workshop

WORKER = """
import json, sys, time
for line in sys.stdin:
    order = json.loads(line)
    time.sleep(order.get("seconds", 0))
    print(order.get("says") or json.dumps({"failure": order["name"]}), flush=True)
"""


@pytest.fixture
def shop(monkeypatch, tmp_path):
    monkeypatch.setattr(workshop, "COMMAND", (sys.executable, "-c", WORKER))
    return Workshop(tmp_path, 30.0)


def carry_out(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 60))


def test_cancelling_the_work_that_is_done_ends_its_worker_and_the_next_order_has_its_own_answer(shop):
    async def play():
        first = asyncio.create_task(shop.work({"name": "first", "seconds": 600}, print))
        second = asyncio.create_task(shop.work({"name": "second"}, print))
        while shop._process is None:
            await asyncio.sleep(0.01)
        worker = shop._process
        first.cancel()
        assert await second == "second" and await worker.wait() == -9
        await shop.end()

    carry_out(play())


def test_cancelling_work_that_waits_leaves_the_worker_alone(shop):
    async def play():
        first = asyncio.create_task(shop.work({"name": "first", "seconds": 0.5}, print))
        second = asyncio.create_task(shop.work({"name": "second"}, print))
        while shop._process is None:
            await asyncio.sleep(0.01)
        worker = shop._process
        second.cancel()
        assert await first == "first" and worker.returncode is None
        await shop.end()

    carry_out(play())


@pytest.mark.parametrize("says", ["x" * 100_000, "no JSON", "[]", '{"other": 1}', "7"])
def test_what_is_no_answer_ends_the_worker_and_after_the_second_time_the_work(shop, says):
    told = []

    async def play():
        with pytest.raises(WorkerDied, match="twice, the worker process wrote what is no answer"):
            await shop.work({"says": says}, told.append)
        assert await shop.work({"name": "next"}, told.append) == "next"
        await shop.end()

    carry_out(play())
    assert told == ["the worker process wrote what is no answer: see the device's log; the work is done once more"]
