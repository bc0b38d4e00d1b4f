"""How a command ends when the disk is full or a person stops it: one line, an exit code, and nothing lost."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from hansa.conf.ending import SIGNALS, Ending
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


def interrupted(
    folder: Path, *words: str, after: int = 1, run: str = "run", how: signal.Signals = signal.SIGINT
) -> tuple[int, str, str]:
    """Send a signal once so many lines of metrics are there; return code and outputs."""
    command = [sys.executable, "-c", CODE, "simulate", "rounds=100000", "run_dir=run", *words]
    running = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while len(complete(folder / run / "metrics.jsonl")) < after:
        assert time.monotonic() < end and running.poll() is None
        time.sleep(0.02)
    running.send_signal(how)
    out, err = running.communicate(timeout=60)
    return running.returncode, out, err


def complete(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")] if path.exists() else []


def test_ctrl_c_leaves_a_whole_number_of_rounds_and_the_model_that_they_made(tmp_path, monkeypatch, capsys):
    code, out, err = interrupted(tmp_path, after=5)
    summary = json.loads(out.splitlines()[-1])
    assert code == 130
    assert err.splitlines()[-1].startswith("hansa simulate: interrupted; what was learnt") and "Traceback" not in err
    assert summary == json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["stopped"] == "interrupted" and summary["rounds"] >= 4
    monkeypatch.chdir(tmp_path)
    assert run(["simulate", f"rounds={summary['rounds']}", "evaluation.every=0"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["model_sha256"] == summary["model_sha256"] == left(tmp_path / "run")


def test_ctrl_c_ends_a_sweep_and_not_only_its_first_run(tmp_path):
    code, out, err = interrupted(tmp_path, "-m", "seed=1,2", run="run/1-seed=1")
    assert code == 130 and len(out.splitlines()) == 1
    assert json.loads(out)["seed"] == 1 and "interrupted" in err.splitlines()[-1]


def test_a_signal_in_a_sweep_leaves_the_table_of_what_finished(tmp_path):
    words = ("-m", "rounds=1,100000", "seed=1")
    code, _, err = interrupted(tmp_path, *words, run="run/2-rounds=100000", how=signal.SIGTERM)
    assert code == 130 and "Traceback" not in err
    told = json.loads((tmp_path / "run" / "sweep.json").read_text())
    assert [run["stopped"] for run in told["runs"]] == ["finished", "interrupted"]
    assert [row["seeds_finished"] for row in told["combinations"]] == [1, 0]
    assert (tmp_path / "run" / "sweep.csv").read_text().splitlines()[1].startswith("1,1,1,")
    assert (tmp_path / "run" / "sweep.svg").exists() and "0/1" in err


@pytest.fixture
def handlers():
    """What stood for each signal, which stands there again in the end."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield before
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("how", SIGNALS)
def test_what_must_not_be_torn_is_over_before_a_signal_interrupts(handlers, how):
    done = []

    def write() -> None:
        with Ending() as ending, ending.hold():
            signal.raise_signal(how)
            done.append("whole")

    with pytest.raises(KeyboardInterrupt):
        write()
    assert done == ["whole"]


def test_an_end_is_not_ended_twice_and_an_interruption_that_was_caught_is_no_end(handlers):
    ended = []

    def end() -> None:
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)  # as a library's callback may swallow it
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGHUP)
            with suppress(ValueError):
                int("no number")
            signal.raise_signal(signal.SIGINT)
            ended.append("in order")

    with pytest.raises(KeyboardInterrupt), Ending():
        end()
    signal.raise_signal(signal.SIGTERM)
    assert ended == ["in order"]


def test_signals_mean_what_they_did_after_a_command_and_ignored_ones_stay_ignored(handlers):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    with Ending():
        signal.raise_signal(signal.SIGHUP)
    assert signal.getsignal(signal.SIGTERM) == handlers[signal.SIGTERM]
