"""Nothing leaves a device unasked: real devices, real TLS, and a coordinator that asks for what it must not have."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from hansa.fedlink.folder import ServerFolder
from hansa.fedlink.messages import Call, fingerprints
from hansa.fedlink.packing import pack_call
from hansa.fedlink.protocol import Desk, Work
from hansa.fedlink.protocol.effects import Connected
from hansa.fedlink.server import Server
from hansa.fedlink.service import Arrived
from tests.fleet import SECONDS, Fleet, fleet
from tests.places import run_of

ROW = "54,male,asymptomatic"
TASK = """
from dataclasses import dataclass
from pathlib import Path
import torch
from torch import nn
from torch.utils.data import TensorDataset
from hansa.fedtasks import Data, Task

@dataclass(frozen=True, kw_only=True)
class Ages(Task):
    data_dir: str = ""
    def clients(self): return ("cleveland", "hungary")
    def model(self): return nn.Linear(1, 2)
    def data(self, client):
        ages = [float(line) for line in (Path(self.data_dir) / f"{client}.csv").read_text().splitlines()]
        data = TensorDataset(torch.tensor(ages)[:, None] / 100, torch.tensor(ages).long() % 2)
        return Data(train=data, test=data)
""".lstrip()

pytestmark = pytest.mark.timeout(300)


def hospital(there: Fleet, name: str, table: str) -> None:
    """Let a hospital join with a table in a folder of its own."""
    (there.home / f"of-{name}").mkdir()
    (there.home / f"of-{name}" / f"{name}.csv").write_text(table)
    there.join(name, f"task.data_dir=of-{name}")


@contextmanager
def hostile(there: Fleet, *settings: str) -> Iterator[Server]:
    """A coordinator with the federation's own certificate that tells devices any settings."""
    told = fingerprints(run_of().job.settings)
    desk = Desk(software="hostile", run="run", settings=settings, fields=told)
    spool = there.home / "spool"
    spool.mkdir(exist_ok=True)
    folder = ServerFolder(path=there.home / "plants" / "server")
    with Server(desk=desk, address=f"127.0.0.1:{there.port}", folder=folder, spool=spool) as server:
        yield server


def answered(server: Server, client: str, endpoint: str) -> bytes:
    """Ask a device that connects for work; return all bytes of its answer."""
    job = run_of().job
    payload = {"model": np.zeros(sum(t.size for n, t in job.tensors.items() if "logit" in n), np.float32)}
    head, body = pack_call(Call(endpoint=endpoint, run="run", round=1, request=0, digest=job.digest, payload=payload))
    while not isinstance(server.events.get(timeout=SECONDS), Connected):
        pass
    sha256 = hashlib.sha256(b"".join(body.pieces(0, 2**20))).digest()
    server.submit(client, Work(request_id=endpoint, head=head, size=body.size, sha256=sha256, answer_limit=2**20), body)
    while not isinstance(event := server.events.get(timeout=SECONDS), Arrived):
        pass
    event.file.seek(0)
    raw = event.head + event.file.read()
    event.close()
    return raw


def test_a_hostile_coordinator_gets_no_file_no_row_and_no_path_of_a_device(tmp_path):
    (tmp_path / "secrets.yaml").write_text("_target_: hansa.fedtasks.partitions.Iid\npassword: hunter2\n")
    path = os.path.relpath(tmp_path / "secrets", Path(str(files("hansa.conf"))) / "partition")
    with fleet(tmp_path) as there:
        there.provision("hungary")
        hospital(there, "hungary", f"age,sex\n{ROW}\n")
        for settings, endpoint, told in (
            (("task=heart_disease", f"partition={path}"), "train.update", b"NotTaken"),
            (("task=digits",), "evaluate.model", b"UnknownSetting"),
            (("task=heart_disease", "rounds=3", "evaluation.every=0"), "query.moments", b"DataError"),
        ):
            with hostile(there, *settings) as server:
                raw = answered(server, "hungary", endpoint)
            assert told in raw
            for secret in (b"hunter2", b"password", *ROW.encode().split(b","), b"of-hungary"):
                assert secret not in raw
        assert "of-hungary/hungary.csv, line 1: there is no column" in there.log("hungary")


def test_a_patients_row_is_in_no_file_and_no_line_of_the_coordinator(tmp_path):
    with fleet(tmp_path) as there:
        (tmp_path / "mine.py").write_text(TASK)
        there.provision("cleveland", "hungary", task="./mine.py:Ages")
        hospital(there, "cleveland", "61\n47\n")
        hospital(there, "hungary", f"61\n{ROW}\n")
        told = there.serve("rounds=2", "run_dir=run", "require=none")
        assert told["failures"] > 0 and told["stopped"] == "finished"
        assert "hungary is left out: loading data: ValueError: mine.py, line 14 " in there.log("serve")
        assert "(its text is in the device's log)" in there.log("serve")
        written = [p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file() and p.suffix != ".safetensors"]
        for kept in (*written, there.log("serve").encode()):
            assert not [secret for secret in (b"asymptomatic", ROW.encode(), b"of-hungary") if secret in kept]
        assert f"could not convert string to float: {ROW!r}" in there.log("hungary")
