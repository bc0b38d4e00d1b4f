"""How a command ends when the disk is full or a person stops it: one line, an exit code, and nothing lost."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from hansa.conf.main import run

CODE = "from hansa.conf.main import main; main()"
NAMES = ("hidden.weight", "hidden.bias", "logit.weight", "logit.bias", "standardise.mean", "standardise.scale")

FILLING = """
from dataclasses import dataclass
import resource
import torch
from hansa.fedtasks.heart_disease import HeartDisease

@dataclass(frozen=True, kw_only=True)
class Filling(HeartDisease):
    room: int = 0

    def loss(self, outputs, targets):
        calls.append(1)
        if len(calls) == 40:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.room, self.room))
        return super().loss(outputs, targets) + 0 * torch.rand(())  # what is random is called at every step

calls = []
"""


def left(folder: Path) -> str:
    """The hash of the model that a run left."""
    tensors = load_file(folder / "model.safetensors")
    return hashlib.sha256(
        b"".join(tensors[name].astype("<f4").tobytes() for name in NAMES if name in tensors)
    ).hexdigest()


def lines(folder: Path) -> list[dict[str, int]]:
    path = folder / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize("room", [200, 1100])
@pytest.mark.parametrize("net", ["logistic", "mlp"])
def test_a_disk_that_fills_ends_the_run_in_one_line_and_keeps_the_last_good_model(tmp_path, net, room):
    (tmp_path / "mine.py").write_text(FILLING)
    own = ["task=./mine.py:Filling", f"task.net={net}", f"task.room={room}"]
    words = ["simulate", *own, "rounds=50", "evaluation.every=0", "federation=inline", "run_dir=run"]
    done = subprocess.run(
        [sys.executable, "-c", CODE, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    folder = tmp_path / "run"
    last = done.stderr.splitlines()[-1]
    told = re.fullmatch(
        r"hansa simulate: (cannot write run/[a-z.]+): File too large; the model of round (\d+) is kept: free some "
        r"space or choose another run_dir\.",
        last,
    )
    assert done.returncode == 1 and told, done.stderr
    assert int(told[2]) <= lines(folder)[-1]["round"]
    assert "Traceback" not in done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["stopped"].startswith(told[1])
    assert summary["model_sha256"] == left(folder)
    assert not list(folder.glob(".*.new"))


def interrupted(folder: Path, *words: str, after: int = 1, run: str = "run") -> tuple[int, str, str, float]:
    """Press Ctrl-C once so many lines of metrics are there; return code, outputs and the seconds until the end."""
    command = [sys.executable, "-c", CODE, "simulate", "rounds=100000", "run_dir=run", *words]
    running = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while len(complete(folder / run / "metrics.jsonl")) < after:
        assert time.monotonic() < end and running.poll() is None
        time.sleep(0.02)
    start = time.monotonic()
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=30)
    return running.returncode, out, err, time.monotonic() - start


def complete(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")] if path.exists() else []


def test_ctrl_c_leaves_a_whole_number_of_rounds_and_the_model_that_they_made(tmp_path, monkeypatch, capsys):
    code, out, err, seconds = interrupted(tmp_path, after=5)
    summary = json.loads(out.splitlines()[-1])
    assert code == 130 and seconds < 10
    assert err.splitlines()[-1].startswith("hansa simulate: interrupted; what was learnt") and "Traceback" not in err
    assert summary == json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["stopped"] == "interrupted" and summary["rounds"] >= 4
    monkeypatch.chdir(tmp_path)
    assert run(["simulate", f"rounds={summary['rounds']}", "evaluation.every=0"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["model_sha256"] == summary["model_sha256"] == left(tmp_path / "run")


def test_ctrl_c_ends_a_sweep_and_not_only_its_first_run(tmp_path):
    code, out, err, _ = interrupted(tmp_path, "-m", "seed=1,2", run="run/1-seed=1")
    assert code == 130 and len(out.splitlines()) == 1
    assert json.loads(out)["seed"] == 1 and "interrupted" in err.splitlines()[-1]


def test_ctrl_c_in_a_sweep_leaves_the_table_of_what_finished(tmp_path):
    code, _, err, _ = interrupted(tmp_path, "-m", "rounds=1,100000", "seed=1", run="run/2-rounds=100000")
    assert code == 130 and "Traceback" not in err
    told = json.loads((tmp_path / "run" / "sweep.json").read_text())
    assert [run["stopped"] for run in told["runs"]] == ["finished", "interrupted"]
    assert [row["seeds_finished"] for row in told["combinations"]] == [1, 0]
    assert (tmp_path / "run" / "sweep.csv").read_text().splitlines()[1].startswith("1,1,1,")
    assert (tmp_path / "run" / "sweep.svg").exists() and "0/1" in err
