"""What a sweep leaves behind: a run of each combination, one table, one picture, and what failed."""

from __future__ import annotations

import csv
import io
import json
import re
from statistics import fmean, stdev

import pytest
import yaml
from rich.console import Console

from hansa.conf.main import run
from hansa.conf.sweep_table import show
from hansa.fedserver.sweep import Row, SweptRun

BROKEN = """
from dataclasses import dataclass
from hansa.strategies import FedAvg

@dataclass(frozen=True, kw_only=True)
class Breaks(FedAvg):
    def init(self, *given):
        raise ZeroDivisionError("no good")
"""


@pytest.fixture
def swept(tmp_path, monkeypatch, capsys):
    """Carry out a sweep in a folder of its own; return exit code, summaries, standard error and the table."""
    (tmp_path / "mine.py").write_text(BROKEN)
    monkeypatch.chdir(tmp_path)

    def sweep(*words):
        code = run(["simulate", "-m", "run_dir=study", *words])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        told = json.loads((tmp_path / "study" / "sweep.json").read_text())
        return code, [json.loads(line) for line in out.splitlines()], err, told

    return sweep


def test_the_table_has_mean_and_deviation_over_seeds_of_what_the_runs_told(swept, tmp_path):
    code, summaries, err, told = swept("rounds=2", "strategy=fedavg,median", "seed=1,2,3")
    assert code == 0 and len(summaries) == 6
    lines = list(csv.DictReader(io.StringIO((tmp_path / "study" / "sweep.csv").read_text())))
    for line, row in zip(lines, told["combinations"], strict=True):
        mine = [one for one in summaries if one["strategy"] == line["strategy"]]
        losses = [one["metrics"]["loss"] for one in mine]
        assert (line["seeds"], line["seeds_finished"]) == ("3", "3")
        assert float(line["loss_mean"]) == pytest.approx(fmean(losses), rel=1e-12)
        assert float(line["loss_std"]) == pytest.approx(stdev(losses), rel=1e-9)
        assert float(line["bytes_mean"]) == fmean(one["bytes_up"] + one["bytes_down"] for one in mine)
        assert row["values"]["rounds"] == {"mean": 2.0, "std": 0.0, "count": 3}
        assert "rounds_to_target_mean" not in line
    assert [one["model_sha256"] for one in told["runs"]] == [one["model_sha256"] for one in summaries]
    shown = re.sub(r"\s+", " ", err)
    for line in lines:
        assert f"{line['strategy']} 3/3" in shown and f"{float(line['loss_mean']):.4f} ± " in shown


def test_each_run_has_a_folder_that_its_settings_name_and_is_announced(swept, tmp_path):
    _, _, err, _ = swept("rounds=1", "pipeline.bound.clip={delta:1.0,loss:9.0},null", "seed=3,4")
    names = ["1-pipeline.bound.clip=-delta-1.0-loss-9.0-seed=3", "2-pipeline.bound.clip=-delta-1.0-loss-9.0-seed=4"]
    names += ["3-pipeline.bound.clip=null-seed=3", "4-pipeline.bound.clip=null-seed=4"]
    there = sorted(path.name for path in (tmp_path / "study").iterdir())
    assert there == [*names, "sweep.csv", "sweep.json", "sweep.svg"]
    assert "run 3/4: pipeline.bound.clip=null seed=3\n" in err
    told = yaml.safe_load((tmp_path / "study" / names[1] / "config.yaml").read_text())
    assert told["pipeline"]["bound"]["clip"] == {"delta": 1.0, "loss": 9.0} and told["seed"] == 4


def test_a_sweep_of_one_run_has_its_table_too(swept):
    code, _, err, told = swept("rounds=1")
    assert code == 0 and "run 1/1: as given" in err
    assert told["combinations"][0]["settings"] == {} and told["runs"][0]["directory"] == "study/1"


def test_a_run_that_fails_does_not_end_the_others_and_is_told_in_the_end(swept, tmp_path):
    code, summaries, err, told = swept("rounds=1", "strategy=./mine.py:Breaks,fedavg", "seed=1,2")
    assert code == 1 and [one["seed"] for one in summaries] == [1, 2]
    assert [one["stopped"].partition(":")[0] for one in told["runs"]] == ["ZeroDivisionError"] * 2 + ["finished"] * 2
    assert [(row["seeds"], row["seeds_finished"]) for row in told["combinations"]] == [(2, 0), (2, 2)]
    assert "run 1/4: strategy=Breaks seed=1\n" in err
    assert "failed: run 2, strategy=Breaks seed=2: ZeroDivisionError: no good" in err
    assert err.splitlines()[-1].startswith("hansa simulate: 2 of 4 runs failed, number 1, 2: mend what is told above")
    assert "fedavg" in (tmp_path / "study" / "sweep.svg").read_text()


def test_debug_shows_where_a_run_of_a_sweep_failed(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.py").write_text(BROKEN)
    monkeypatch.chdir(tmp_path)
    assert run(["simulate", "-m", "strategy=./mine.py:Breaks", "--debug"]) == 1
    assert "in init" in capsys.readouterr().err


def test_a_target_adds_what_it_took_to_reach_it(swept):
    code, summaries, _, told = swept("rounds=4", "target=loss: 0.6", "client.lr=0.3,0.0001", "seed=1,2")
    fast, slow = (row["values"] for row in told["combinations"])
    took = [one["rounds_to_target"] for one in summaries]
    assert code == 0 and took[2:] == [None, None]
    assert fast["rounds_to_target"]["mean"] == fmean(took[:2]) and fast["bytes_to_target"]["count"] == 2
    assert "rounds_to_target" not in slow


def test_a_narrow_terminal_gets_the_table_in_parts_and_a_value_says_how_many_seeds_have_it():
    def one(seed, **metrics):
        told = {"metrics": metrics, "rounds": 3, "seconds": 1.25, "bytes_up": 900, "bytes_down": 100}
        return SweptRun(number=seed, settings={"seed": str(seed)}, directory="", stopped="finished", summary=told)

    runs = [one(1, loss=1.0, auc=None, gap=None), one(2, loss=2.0, auc=0.5, gap=None)]
    row = Row(settings={"client.lr": "0.1"}, finished=runs, planned=3)
    out = Console(file=io.StringIO(), width=50)
    show([row], out)
    text = out.file.getvalue()
    assert max(map(len, text.splitlines())) <= 50 and text.count("client.lr") > 1
    shown = re.sub(r"\s+", " ", text)
    for cell in ("2/3", "1.5000 ± 0.7071", "0.5000 (1 of 2)", "n/a", "1.25", "1.0 kB"):
        assert cell in shown
