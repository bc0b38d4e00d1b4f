"""Work is done once more where its worker dies, to the same bits, and never twice more; and no answer is another's."""

from __future__ import annotations

import asyncio
import math
import os
import shlex
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from hansa.conf import place as conf_place
from hansa.fedclient import workshop
from hansa.fedclient.limits import SiteLimits
from hansa.fedclient.place import Place, approved
from hansa.fedclient.spool import Spool
from hansa.fedclient.state import MemoryStates
from hansa.fedclient.workshop import WorkFailed, Workshop
from hansa.fedlink.invitation import TaskFile
from hansa.fedlink.messages import Call
from hansa.fedlink.packing import pack_call, pack_reply
from tests import scripted_worker
from tests.fleet import SECONDS

TASK = """
import os, signal
from pathlib import Path
import torch
from torch import nn
from torch.utils.data import TensorDataset
from hansa.fedtasks import Data, Task

class Mortal(Task):
    def clients(self): return ("bergen", "riga")
    def model(self): return nn.Linear(8, 2)
    def data(self, client): return Data(TensorDataset(torch.ones(4, 8), torch.zeros(4).long()))
    def train(self, model, data, settings, rng):
        try:
            Path(__file__).with_name("die").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        except FileNotFoundError:
            pass
        with torch.no_grad():
            model.weight += torch.linspace(-0.3, 0.3, 16).reshape(2, 8)
        return 0.5
"""
ANSWER = "say(order['number'])"
DIE = "os.kill(os.getpid(), 9)"
STAND = "(folder / 'standing').touch(); import time; time.sleep(600)"


class Scene:
    """A workshop of scripted workers in a folder of its own, and what it told."""

    def __init__(self, folder: Path, clock=time.monotonic) -> None:
        self.folder, self.told = folder, []
        self.shop = Workshop(folder, 30.0, clock, self.told.append)

    def work(self, *deeds, name="one", kind=""):
        (self.folder / name).mkdir(exist_ok=True)
        order = {"folder": str(self.folder / name), "deeds": deeds}
        return asyncio.wait_for(self.shop.work(order, f"work {name}", kind), SECONDS)

    def tries(self, name="one"):
        return (self.folder / name / "tries").stat().st_size

    async def standing(self, name="one"):
        while not (self.folder / name / "standing").exists():
            await asyncio.sleep(0.01)


@pytest.fixture
def scene(tmp_path, monkeypatch):
    monkeypatch.setattr(workshop, "COMMAND", scripted_worker.COMMAND)
    return Scene(tmp_path)


def run(scene, doing):
    async def done():
        try:
            return await doing()
        finally:
            await scene.shop.closed()

    return asyncio.run(done())


UNTOLD = {
    "killed": (DIE, "was killed (signal 9)"),
    "another signal": ("os.kill(os.getpid(), 15)", "ended with signal 15"),
    "an exit": ("os._exit(7)", "ended with exit code 7"),
    "no JSON": ("print('progress 12 %', flush=True)", "wrote what is no answer"),
    "no object": ("print('[]', flush=True)", "wrote what is no answer"),
    "deep": ("print('[' * 60_000, flush=True)", "wrote what is no answer"),
    "no UTF-8": ("os.write(1, bytes([255, 10]))", "wrote what is no answer"),
    "a line without end": ("os.write(1, b'x' * 200_000)", "wrote what is no answer"),
    "a long line": ("say(order['number'], 'x' * 200_000)", "wrote what is no answer"),
    "another's answer": ("say(order['number'] - 1)", "wrote what is no answer"),
    "half an answer": ("print('{\"number\": %d}' % order['number'], flush=True)", "wrote what is no answer"),
    "a closed pipe": ("os.close(1); import time; time.sleep(600)", "was killed"),
    "a child that holds the pipe": ("os.fork() and os._exit(7); import time; time.sleep(600)", "exit code 7"),
}


@pytest.mark.parametrize("name", UNTOLD)
def test_a_worker_that_dies_or_talks_nonsense_costs_one_more_try_and_the_second_time_the_request(scene, name):
    deed, told = UNTOLD[name]

    async def both():
        assert await scene.work(deed, ANSWER) == ""
        with pytest.raises(WorkFailed, match=told.replace("(", r"\(").replace(")", r"\)")):
            await scene.work(deed, name="two")
        assert await scene.work(ANSWER, name="three") == "", "and the next request has a worker"

    run(scene, both)
    assert (scene.tries(), scene.tries("two"), scene.tries("three")) == (2, 2, 1)
    assert len(scene.told) == 2 and "work one is done once more by a fresh worker" in scene.told[0]
    assert told in scene.told[0]


def test_what_the_owner_does_not_allow_and_what_has_no_answer_are_not_tried_again(scene):
    async def both():
        with pytest.raises(WorkFailed, match="more processor time than this device's owner gives"):
            await scene.work(f"os.kill(os.getpid(), {int(signal.SIGXCPU)})")
        with pytest.raises(WorkFailed, match="OSError: No space left"):
            await scene.work("say(order['number'], broken='OSError: No space left on device')", name="two")
        worker = scene.shop._process.pid
        assert await scene.work("say(order['number'], 'training: ValueError\\x1b[2J')", name="three")
        assert scene.shop._process.pid == worker, "it lives on"

    run(scene, both)
    assert scene.tries() == scene.tries("two") == 1 and not scene.told


def test_a_worker_that_cannot_be_started_is_an_error_of_the_request(scene, monkeypatch):
    monkeypatch.setattr(workshop, "COMMAND", ("/no/such/python",))

    async def one():
        with pytest.raises(WorkFailed, match=r"no worker process can be started \(No such file"):
            await scene.work(ANSWER)
        monkeypatch.setattr(workshop, "COMMAND", scripted_worker.COMMAND)
        assert await scene.work(ANSWER) == ""

    run(scene, one)


def test_cancelling_the_first_of_two_ends_its_worker_and_not_the_work_of_the_second(scene):
    async def both():
        first = asyncio.create_task(scene.work(STAND))
        await scene.standing()
        worker = scene.shop._process.pid
        second = asyncio.create_task(scene.work(ANSWER, name="two"))
        await asyncio.sleep(0)
        first.cancel()
        assert await second == "" and scene.shop._process.pid != worker
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)

    run(scene, both)
    assert scene.tries() == scene.tries("two") == 1 and not scene.told


def test_cancelling_the_second_of_two_leaves_the_first_alone(scene):
    async def both():
        go = scene.folder / "go"
        wait = f"import time\nwhile not Path({str(go)!r}).exists(): time.sleep(0.01)\n{ANSWER}"
        first = asyncio.create_task(scene.work(f"(folder / 'standing').touch()\n{wait}"))
        await scene.standing()
        second = asyncio.create_task(scene.work(ANSWER, name="two"))
        await asyncio.sleep(0)
        second.cancel()
        go.touch()
        assert await first == ""

    run(scene, both)
    assert scene.tries() == 1 and not (scene.folder / "two" / "tries").exists()


def test_a_worker_that_stands_still_is_replaced_once_a_request_and_then_let_run(scene):
    """The clock is the test's: it jumps while a worker stands still."""
    now = [0.0]
    scene.shop.clock = lambda: now[0]

    async def jump(name, seconds):
        await scene.standing(name)
        (scene.folder / name / "standing").unlink()
        now[0] += seconds

    async def all_of_it():
        assert math.isinf(scene.shop.pace.longest("train"))
        leisurely = asyncio.create_task(jump("first", 1000.0))
        go = "import time\nwhile (folder / 'standing').exists(): time.sleep(0.01)\n"
        stand = f"(folder / 'standing').touch()\n{go}{ANSWER}"
        assert await scene.work(stand, name="first", kind="never measured") == ""
        await leisurely
        await scene.work(ANSWER, name="quick", kind="train")
        assert scene.shop.pace.longest("train") == 10.0
        late = asyncio.create_task(jump("one", 11.0))
        assert await scene.work(STAND, ANSWER, kind="train") == ""
        await late

        async def twice():
            await jump("two", 11.0)
            await jump("two", 11.0)

        late = asyncio.create_task(twice())
        again = f"(folder / 'standing').touch()\n{go}{ANSWER}"
        assert await scene.work(STAND, again, name="two", kind="train") == ""
        await late

    run(scene, all_of_it)
    assert (scene.tries(), scene.tries("two")) == (2, 2)
    assert [text.partition(":")[0] for text in scene.told] == [
        f"work {name} takes more than 10 s, much longer than usual" for name in ("one", "two")
    ]


def test_the_device_s_key_is_told_over_the_pipe_and_nowhere_else(scene):
    async def one():
        look = "(folder / 'seen').write_text(repr((sys.argv, dict(os.environ), order['key'])))"
        await scene.work(f"import sys\n{look}\n{ANSWER}")

    run(scene, one)
    seen = (scene.folder / "one" / "seen").read_text()
    assert seen.count(scene.shop._key) == 1 and scene.shop._key not in repr(scene.shop) + "".join(scene.told)


def test_work_that_is_done_again_has_the_same_bits(tmp_path):
    """With a real worker that is killed in mid-training, under rounding that draws from the device's secret key."""
    home, wire = tmp_path / "home", ["task=mine.py:Mortal", "pipeline=quantised", "cohort.max=4"]
    task = approved(home, TaskFile(file="mine.py", class_name="Mortal", text=TASK.lstrip()))
    here = Place(home=home, federation="x", address="127.0.0.1:1", client="bergen", task=task, insecure=True)
    there = conf_place.run(shlex.join(wire), shlex.join(here.order(tmp_path, wire, ())["place"]))
    shop = Workshop(home, 30.0, time.monotonic, (told := list[str]()).append)
    site = there.site(MemoryStates(), bytes.fromhex(shop._key))
    model_P = np.zeros(site.work.layout.size("shared"), np.float32)
    call = Call(endpoint="train.update", run="run", round=1, request=0, digest=site.digest, payload={"model": model_P})

    async def both() -> list[bytes]:
        rows, (head, body) = [], pack_call(call)
        for name in ("first", "again"):
            spool = Spool(root=tmp_path / name)
            assert spool.held() == []
            folder = spool.order("id", head)
            (folder / "body").write_bytes(b"".join(body.pieces(0, 2**20)))
            assert await shop.work(here.order(folder, wire, ()) | {"limits": SiteLimits().order()}, name, "") == ""
            rows.append((folder / "reply.body").read_bytes())
        await shop.closed()
        return rows

    (home / "die").touch()
    disturbed, undisturbed = asyncio.run(both())
    assert [text.partition(":")[0] for text in told] == ["first is done once more by a fresh worker"]
    expected = b"".join(pack_reply(site.answer(call, "bergen"))[1].pieces(0, 2**20))
    assert disturbed == undisturbed == expected
    other = there.site(MemoryStates(), bytes(32)).answer(call, "bergen")
    assert other.row is not None and other.row.tobytes() != expected, "another key would have rounded otherwise"
