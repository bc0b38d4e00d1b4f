"""The owner's limits of memory and processor time hold, on real processes, and are told by name."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from hansa.fedclient.confine import check_size, exceeded
from hansa.fedclient.errors import BeyondLimits
from tests.fleet import fleet

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the system's limits are Linux's")

MEMORY = """
import numpy, torch
from hansa.fedclient.confine import confine, named, no_core
from hansa.fedclient.errors import StageFailed, stage
no_core()
confine({"memory": 2**29, "cpu": None})
def tried(limits, work):
    try:
        with named(limits), stage("training"):
            work()
            print("done")
    except StageFailed as failed:
        print(failed.stage, *failed.outside)
for work in (lambda: numpy.ones(2**28), lambda: torch.ones(2**29), lambda: bytearray(2**31), lambda: numpy.ones(2**20)):
    tried({"memory": 2**29}, work)
def other(): raise RuntimeError("patient 54")
tried({"memory": 2**29}, other)
tried({"memory": None}, lambda: bytearray(2**31))
"""
PROCESSOR = """
import resource, time
from hansa.fedclient.confine import confine, no_core
no_core()
def spin(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
for request in range(4):
    confine({"cpu": 1, "memory": None})
    spin(0.6)
    print("done", flush=True)
print(resource.getrlimit(resource.RLIMIT_CORE)[0], flush=True)
spin(60)
"""
TASK = """
import torch
from torch import nn
from torch.utils.data import TensorDataset
from hansa.fedtasks import Data, Task

class Hungry(Task):
    def clients(self): return ("bergen", "riga")
    def model(self): return nn.Linear(2, 2)
    def data(self, client):
        self.client.append(client)
        return Data(TensorDataset(torch.ones(4, 2), torch.zeros(4).long()))
    client = []
    def train(self, model, data, settings, rng):
        while self.client == ["bergen"]:
            pass
        return float(torch.ones(2**30).sum())
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)


def test_work_that_needs_more_memory_is_refused_by_the_field_and_the_process_goes_on():
    done = python(MEMORY)
    told = "training BeyondLimits it needs more memory, and the device gives 536,870,912 (memory in site.yaml)"
    lines = done.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines[:3]] == [told] * 3, done.stderr
    assert lines[3] == "done" and lines[4].startswith("training RuntimeError") and "54" not in lines[4]
    assert lines[5].startswith("training MemoryError"), "no limit of the owner's"


def test_each_request_has_its_processor_time_and_no_more():
    done = python(PROCESSOR)
    assert done.stdout.splitlines() == ["done"] * 4 + ["0"], done.stderr
    assert done.returncode == -signal.SIGXCPU and exceeded(done.returncode)
    assert not [code for code in (0, 1, -9, -6, -11) if exceeded(code)]


def test_an_answer_has_the_owner_s_length_at_most():
    check_size({}, 2**40)
    check_size({"body": 10}, 10)
    with pytest.raises(BeyondLimits, match=r"the answer has 11 bytes, and the device gives 10 \(body in site.yaml\)"):
        check_size({"body": 10}, 11)


def test_a_run_that_takes_too_much_time_or_memory_of_a_device_is_told_so_and_the_devices_stay(tmp_path):
    (tmp_path / "mine.py").write_text(TASK.lstrip())
    with fleet(tmp_path) as there:
        there.provision("bergen", "riga", task="./mine.py:Hungry")
        for name, text in (("bergen", "cpu: 2"), ("riga", "memory: 1 GiB")):
            (tmp_path / f"hansa-{name}").mkdir()
            (tmp_path / f"hansa-{name}" / "site.yaml").write_text(text)
            there.join(name)
        there.start("serve", "serve", "plants", f"listen=127.0.0.1:{there.port}", "rounds=1", "lost_rounds=1")
        assert there.processes.pop("serve").wait(60) == 1
        told = there.log("serve")
        assert "bergen is left out: link: Refused: the work took more processor time than this device's owner" in told
        assert "riga is left out: training: BeyondLimits: it needs more memory, and the device gives 1,073,741" in told
        assert "once more" not in there.log("bergen"), "another worker would take as long"
        assert all(process.poll() is None for process in there.processes.values())
