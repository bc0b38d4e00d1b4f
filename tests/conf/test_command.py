"""What a person meets at the command line: results, and one line that says what, where and the remedy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from hansa.conf.main import run

FLIP, BACK = ("task=digits", "attack=label_flip"), ("task=digits", "attack=backdoor")
CODE = "from hansa.conf.main import main; main()"


def hansa(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", CODE, *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def summary(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_a_run_leaves_its_results_and_prints_the_summary_last(tmp_path):
    told = summary(hansa(tmp_path, "simulate", "rounds=2", "run_dir=run"))
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert files == {"config.yaml", "metrics.jsonl", "model.safetensors", "summary.json", "curves.svg"}
    assert told == json.loads((tmp_path / "run" / "summary.json").read_text())
    assert list(told)[:6] == ["run_id", "task", "strategy", "rounds", "seed", "model_sha256"]
    assert (told["task"], told["rounds"], told["clients"], told["stopped"]) == ("heart_disease", 2, 4, "finished")
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["rounds"] == 2


def test_a_sweep_makes_one_run_of_each_combination_and_seeds_repeat(tmp_path):
    done = hansa(tmp_path, "simulate", "-m", "rounds=1", "seed=1,2", "strategy=fedavg,median")
    told = [json.loads(text) for text in done.stdout.splitlines()]
    assert [(t["seed"], t["strategy"]) for t in told] == [(s, n) for s in (1, 2) for n in ("fedavg", "median")]
    again = summary(hansa(tmp_path, "simulate", "rounds=1", "seed=2"))
    assert [t["model_sha256"] == again["model_sha256"] for t in told] == [False, False, True, False]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["strategy.lrr=1"], "setting 'strategy.lrr' does not exist: nearest are strategy.lr,"),
        (
            ["strategy.groups=2"],
            (
                "setting 'strategy.groups' does not exist here, but with strategy=bucketing, strategy=bulyan, "
                "strategy=centred_clipping: nearest are strategy.lr, strategy.weighting, strategy.denominator."
            ),
        ),
        (
            ["cohort=asynchronous", "cohort.quorum=0.5"],
            "'cohort.quorum' does not exist here, but with cohort=everyone:",
        ),
        (["cohort.buffer=3"], "'cohort.buffer' does not exist here, but with cohort=asynchronous: nearest are cohort."),
        (["strategy.lr=nan"], "strategy.lr=nan: it must be a finite number."),
        (["cohort.over=inf"], "cohort.over=inf: it must be a finite number."),
        (["pipeline.bound.clip.dleta=1"], "the row has no channel 'dleta': name any of delta, loss, weight."),
        (["ronds=1"], "setting 'ronds' does not exist: nearest are rounds"),
        (["strategy=fedav"], "strategy=fedav does not exist: nearest are strategy=fedavg"),
        (["rounds=many"], "rounds=many: it must be a whole number."),
        (["start_within=soon"], "start_within=soon: it must be a number."),
        (["evaluation.by_client=perhaps"], "evaluation.by_client=perhaps: it must be true or false."),
        (["lost_rounds=null"], "lost_rounds=null: it must be given."),
        (["--rounds=3"], "'--rounds=3' is no option: settings have no dashes, as in rounds=3."),
        (["--rounds", "3"], "'--rounds' is no option: settings have no dashes, as in rounds=3."),
        (["rounds", "3"], "'rounds 3' is no setting: write name=value, as in rounds=3."),
        (["=3"], "'=3' is no setting: write name=value, as in rounds=3."),
        (["--cfg", "all-of-it"], "argument --cfg/-c: invalid choice: 'all-of-it' (choose from"),
        (["rounds=[1"], "'rounds=[1' cannot be read: write name=value, with each bracket and quote closed."),
        (["-m", "seed=range(1"], "'seed=range(1' cannot be read"),
        (["seed=1,2"], "seed=1,2: for a run of each value add -m, for a list write [...] around them."),
        (["+seed=3"], "+seed: this setting exists already: leave out the +."),
        (["target=accuracy"], "target='accuracy': write a metric and a number, as in target='accuracy: 0.9'."),
        (["target=accuracy: nan"], "target='accuracy: nan': write a metric and a number"),
        (["target=acuracy: 0.9"], "target: nothing measures 'acuracy': nearest are accuracy"),
        (["-m", "seed=1,2", "run_dir=a,b"], "run_dir=a,b: in a sweep it is one folder"),
        (["-m", "seed=1,2", "run_dir=a/${seed}"], "run_dir=a/${seed}: in a sweep it is one folder"),
        (["-m", "seed=1,2", "run_dir=data"], "run_dir=data exists already: choose another for the sweep."),
        (["-m", "seed=1,2", "run_dir=mine.py/x"], "run_dir=mine.py/x cannot be made: Not a directory: choose another."),
        (["-m", "seed=1,2", "rounds=1,many"], "rounds=many: it must be a whole number."),
        (["rounds=0"], "rounds=0: it must be at least 1"),
        (["client.lr=fast"], "client.lr='fast': it must be float"),
        (["client.optimiser=sdg"], "client.optimiser='sdg': it is one of sgd, adam, adamw"),
        (["client.device=cuda"], "client.device=cuda: this machine has none; use client.device=cpu"),
        (["clients=5"], "this task has clients of its own"),
        (["partition=linear"], "partition=linear: task heart_disease has no field 'partition', so that it would do"),
        (["task=digits", "partition=linaer"], "partition=linaer does not exist: nearest are partition=linear"),
        (
            ["task=digits", "partition=linear", "partition.alpha=1"],
            "setting 'partition.alpha' does not exist here, but with partition=dirichlet, partition=quantity:",
        ),
        (["task=digits", "partition=dirichlet", "partition.alpha=0"], "partition.alpha=0: it is a number above 0"),
        (["task=digits", "partition=exponential", "clients=20"], "of 20 clients have no example (client-00, "),
        (["task=digits", "+task.partition=1"], "task.partition does not exist: Digits has parts, split, test"),
        (["federation=warp"], "federation=warp: it is one of auto, fast, inline, processes"),
        (["cohort.size=9", "cohort.max=8"], "needs 1 <= min <= size <= max"),
        (["cohort.deadline=0"], "it must be above 0 seconds"),
        (["evaluation.to=all"], "evaluation.to=all: it is everyone, cohort or nobody"),
        (["evaluation.to=nobody", "evaluation.by_client=true"], "by_client=true: with evaluation.to=nobody no client"),
        (["coordinator_key=luck"], "coordinator_key=luck: it is seed or entropy"),
        (["strategy=scaffold", "client=adam"], "SCAFFOLD corrects every gradient of plain SGD"),
        (["strategy._target_=os.system"], "'os.system' is none of Hansa's own components"),
        (["cohort.min=5"], "4 clients are there and a round needs 5: start more clients"),
        (["task.net=deep"], "task.net='deep'"),
        (["task=./none.py:Mine"], "none.py is no file"),
        (["task=./mine.py:Lost"], "has no class 'Lost': it has"),
        (["task=./broken.py:Mine"], "broken.py does not import: line 3: ZeroDivisionError: division by zero"),
        (["task=./unwritten.py:Mine"], "unwritten.py does not import: line 1: SyntaxError"),
        (["task=./mine.py:Bare"], "lacks clients(), data(), model(): see docs/tasks.md"),
        (["strategy=./mine.py:NoRule"], "lacks endpoints(), init(), round(): see docs/own_strategies.md"),
        (["task=./mine.py:Private"], "private pattern 'nrom.*' matches no tensor of the model: nearest are"),
        (["task.data_dir=data"], "cleveland.csv, line 3"),
        (["private=[norms]"], "private=[norms]: the model has no normalisation layer: name tensors"),
        (["private=['9.*']"], "private pattern '9.*' matches no tensor of the model: nearest are"),
        (["strategy=fedbn"], "the strategy needs private tensors: name them, as in private=['4.*']"),
        (["devices=phonez"], "devices=phonez does not exist: nearest are devices=phones"),
        (["devices=hospitals", "devices.availability.trace=trace.csv"], "trace.csv, line 3: 'hungary,9,5': write a"),
        (["attack=alice"], "attack=alice does not exist: nearest are attack=alie"),
        (["attack=alie", "attack.share=0.7"], "attack.share=0.7: it is at least 0 and below 0.5."),
        (["attack=alie", "attack.share=0.1"], "attack.share=0.1: of 4 clients that is nobody: raise it, or let there"),
        (["attack=alie", "attack.z=-1"], "attack.z=-1.0: it must be a number above 0."),
        (["attack=min_max", "attack.direction=std"], "attack.direction='std': it is one of -std, -sign, -unit."),
        (["attack=alie", "+attack.scale=2"], "attack.scale does not exist: Alie has share, z"),
        (["attack=label_flip", "attack.share=0.3", "attack.source=1"], "attack.source and attack.target: give both"),
        ([*FLIP, "attack.source=1", "attack.target=10"], "attack.target=10: the task has the classes 0 to 9."),
        ([*BACK, "attack.target=-1"], "attack.target=-1: the task has the classes 0 to 9."),
        ([*BACK, "attack.poisoned=0"], "attack.poisoned=0.0: it is a share above 0, and 1 at most."),
        ([*BACK, "attack.trigger.row=7"], "a patch of 2 x 2 pixels at row 7, column 0 is not inside of a picture of 8"),
        (["attack=backdoor", "attack.share=0.3"], "an input of shape [13] is no picture: take attack=backdoor_feature"),
        (
            ["attack=backdoor_feature", "attack.share=0.3", "attack.trigger.index=13"],
            "attack.trigger.index=13: an input has the shape [13]: name one of its features",
        ),
        (["devices=hospitals", "cohort.quorum=1.5"], "cohort.quorum=1.5: it is a share above 0, and 1 at most"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(tmp_path, monkeypatch, capsys, words, told):
    (tmp_path / "broken.py").write_text("x = 1\n\ny = 1 / 0\n")
    (tmp_path / "unwritten.py").write_text("class Mine(:\n")
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "trace.csv").write_text("client,start,stop\nhungary,0,5\nhungary,9,5\n")
    (tmp_path / "data").mkdir()
    shipped = Path(__file__).parents[2] / "fedtasks" / "data" / "heart_disease" / "cleveland.csv"
    lines = shipped.read_text().splitlines()
    lines[2] = lines[2].replace(",", ",x", 1)
    (tmp_path / "data" / "cleveland.csv").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    assert run(["simulate", "rounds=1", "lost_rounds=1", *words]) == 1
    text = capsys.readouterr().err
    assert told in text and "Traceback" not in text
    assert text.splitlines()[-1].startswith("hansa simulate: ")


MINE = """
from dataclasses import dataclass
import torch
from torch import nn
from torch.utils.data import TensorDataset
from hansa.fedtasks import Data, Task
from hansa.strategies import FedAvg

class Bare(Task):
    pass

class NoRule:
    pass

@dataclass(frozen=True, kw_only=True)
class Mine(Task):
    width: int = 2
    def clients(self): return ("a", "b")
    def model(self): return nn.Linear(2, self.width)
    def data(self, client): return Data(TensorDataset(torch.ones(4, 2), torch.zeros(4).long()))

class Private(Mine):
    private = ("nrom.*",)

@dataclass(frozen=True, kw_only=True)
class Failing(Mine):
    def train(self, model, data, settings, rng):
        raise ValueError("odd number of patients\\nsecond line")

@dataclass(frozen=True, kw_only=True)
class HalfFailing(Mine):
    def data(self, client):
        if client == "b":
            raise OSError("disk is gone")
        return super().data(client)

@dataclass(frozen=True, kw_only=True)
class Slower(FedAvg):
    brake: float = 0.5
    def round(self, state, now):
        after, metrics = yield from super().round(state, now)
        return {"model": state["model"] + self.brake * (after["model"] - state["model"])}, metrics
"""


def test_a_training_that_raises_names_client_round_stage_and_error(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    assert run(["simulate", "task=./mine.py:Failing", "rounds=9", "run_dir=run"]) == 1
    err = capsys.readouterr().err
    assert "round 1: a is left out: training: ValueError: odd number of patients" in err
    assert "3 rounds in a row were lost" in err.splitlines()[-1]
    told = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert told["rounds"] == 3 and "3 rounds in a row were lost" in told["stopped"]
    assert (tmp_path / "run" / "model.safetensors").exists()


def test_a_client_that_fails_does_not_stop_the_others(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    assert run(["simulate", "task=./mine.py:HalfFailing", "rounds=2"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["failures"] == 4
    assert "round 2: b is left out: loading data: OSError: disk is gone" in err


def test_a_task_and_a_strategy_of_ones_own_have_settings_of_their_own(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    own = ["simulate", "rounds=2", "task=./mine.py:Mine", "task.width=3", "strategy=./mine.py:Slower"]
    swept = hansa(tmp_path, *own, "-m", "strategy.brake=0.3,0.0")
    slow, still = (json.loads(line) for line in swept.stdout.splitlines())
    assert (slow["task"], slow["strategy"]) == ("Mine", "Slower")
    assert slow["model_sha256"] != still["model_sha256"]
    done = hansa(tmp_path, *own, "strategy.brk=1")
    assert "setting 'strategy.brk' does not exist: nearest are strategy.brake" in done.stderr


def test_debug_shows_where(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["simulate", "rounds=0", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_other_verbs(tmp_path):
    listed = hansa(tmp_path, "strategies").stdout
    for word in ("fedavg", "scaffold", "median", "heart_disease", "quantised", "adamw"):
        assert word in listed
    assert "hansa simulate" in hansa(tmp_path).stdout
    assert hansa(tmp_path, "--version").stdout.startswith("hansa 0.")
    assert hansa(tmp_path, "conquer").returncode == 2
    assert "hansa strategies all: there is no such strategy" in hansa(tmp_path, "strategies", "all").stderr
