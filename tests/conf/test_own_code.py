"""Tasks and strategies in files of one's own, and the targets that nobody may name."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import py_compile
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from hansa.conf import main
from hansa.conf.components import PARTS, build, load
from hansa.conf.compose import compose, own_code
from hansa.conf.digest import learning_settings
from hansa.conf.errors import CannotLoad, UnknownSetting, WrongValue
from hansa.conf.run import assemble
from hansa.fedclient.approval import check
from hansa.fedclient.errors import NotApproved, StageFailed
from tests.places import coordinator, inline

RULE = """
from dataclasses import dataclass
from hansa.strategies import FedAvg

@dataclass(frozen=True, kw_only=True)
class {name}(FedAvg):
    lr: float = {lr}
"""

TASK = """
from dataclasses import dataclass
import torch
from torch import nn
from torch.utils.data import TensorDataset
from hansa.fedtasks import Data, Task

@dataclass(frozen=True, kw_only=True)
class Mine(Task):
    def clients(self): return ("a", "b")
    def model(self): return nn.Linear(2, 2)
    def data(self, client): return Data(TensorDataset(torch.ones(4, 2), torch.zeros(4).long()))
"""


@pytest.fixture
def hansa(tmp_path, monkeypatch, capsys):
    """The command, in this process and an empty folder: its exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["hansa"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")

    def run(*words: str) -> tuple[int, str, str]:
        code = main.run(["simulate", *words])
        return code, *capsys.readouterr()

    return run


def last(out: str) -> dict[str, object]:
    return dict(json.loads(out.splitlines()[-1]))


def test_two_files_may_each_have_a_class_of_the_same_name(hansa):
    for name, lr in (("one", 1.0), ("two", 0.5)):
        Path(f"{name}.py").write_text(RULE.format(name="MyRule", lr=lr))
    code, out, err = hansa("-m", "rounds=1", "strategy=./one.py:MyRule,./two.py:MyRule")
    assert code == 0, err
    first, second = (json.loads(line) for line in out.splitlines())
    assert (first["strategy"], second["strategy"]) == ("MyRule", "MyRule_2")
    assert first["model_sha256"] != second["model_sha256"]


def test_a_bug_in_ones_own_file_is_told_with_its_line(hansa):
    Path("mine.py").write_text(TASK + "    def loss(self, outputs, targets):\n        return outputs.meen()\n")
    code, _, err = hansa("task=./mine.py:Mine", "rounds=1")
    assert code == 1
    assert "a is left out: training: AttributeError: 'Tensor' object has no attribute 'meen' (mine.py, line 14)" in err


def test_a_strategy_without_a_pipeline_is_refused_with_any_but_the_plain_one(hansa):
    Path("mine.py").write_text(
        "from hansa.strategies import FedAvg\nclass Mine:\n    inner = FedAvg()\n"
        + "".join(f"    def {part}(self, *given): return self.inner.{part}(*given)\n" for part in PARTS["strategy"])
    )
    assert hansa("strategy=./mine.py:Mine", "rounds=1")[0] == 0
    code, _, err = hansa("strategy=./mine.py:Mine", "pipeline=quantised", "cohort.max=4")
    assert code == 1 and "strategy Mine has no field 'pipeline'" in err and len(err.splitlines()) == 1


def test_the_coordinators_data_is_read_at_the_coordinator_only(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(TASK + "    def server_data(self): raise OSError('only the coordinator has it')\n")
    run = assemble(*compose(own_code(["task=./mine.py:Mine", "rounds=1"])))
    assert next(coordinator(run, inline(run, ("a", "b"))).rounds()).counted == 2
    with pytest.raises(StageFailed, match="only the coordinator has it"):
        run.server_sums()


@pytest.mark.parametrize("words", [["-m", "seed=1,2"], ["seed=1,2", "-m"], ["seed=1,2", "--multirun", "strategy.lr=1"]])
def test_a_sweep_may_be_asked_for_anywhere_in_the_line(hansa, words):
    code, out, err = hansa("rounds=1", *words)
    assert code == 0, err
    assert [json.loads(line)["seed"] for line in out.splitlines()] == [1, 2]


def test_a_class_may_have_the_name_of_a_choice_that_ships(hansa):
    Path("mine.py").write_text(RULE.format(name="median", lr=0.5))
    code, out, err = hansa("rounds=1", "strategy=./mine.py:median", "strategy.weighting=uniform")
    assert code == 0, err
    assert last(out)["strategy"] == "median_2"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import sys\nsys.exit('use me otherwise')", "mine.py does not import: line 2: SystemExit: use me otherwise"),
        ("import nowhere_to_be_found", "line 1: ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        ("\n\nfrom hansa.strategies import Nothing", "line 3: ImportError: cannot import name 'Nothing'"),
        ("if True:\nx = 1", "line 2: IndentationError: expected an indented block"),
        ("x = 'é", "line 1: SyntaxError: unterminated string literal"),
        ("", "mine.py has no class 'Mine': it has no class at all"),
        ("class Main: ...\nMine = 3", "mine.py has no class 'Mine': it has Main"),
        ("class Mine:\n    model = None", "lacks clients(), model(), data(): see docs/tasks.md"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_in_one_line(hansa, source, told):
    Path("mine.py").write_text(source)
    code, out, err = hansa("task=./mine.py:Mine")
    assert (code, out) == (1, "") and told in err and len(err.splitlines()) == 1
    assert not Path("runs").exists(), "nothing was started"


def test_a_file_that_was_mended_is_read_anew(hansa):
    Path("mine.py").write_text("x = 1 / 0")
    assert hansa("task=./mine.py:Mine")[0] == 1
    Path("mine.py").write_text(TASK)
    assert hansa("task=./mine.py:Mine", "rounds=1")[0] == 0


@pytest.mark.parametrize(
    "method",
    ["def model(self): return 1 / 0", "def server_data(self): return 1 / 0", "def clients(self): return 1 / 0"],
)
def test_a_task_whose_parts_fail_is_told_before_or_as_the_run_starts(hansa, method):
    Path("mine.py").write_text(TASK + f"    {method}\n")
    code, _, err = hansa("task=./mine.py:Mine", "rounds=1")
    assert code == 1 and "division by zero" in err.splitlines()[-1] and "Traceback" not in err


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("strategy._target_=os.system", "'os.system' is none of Hansa's own components"),
        ("task._target_=builtins.eval", "'builtins.eval' is none"),
        ("client._target_=subprocess.Popen", "'subprocess.Popen' is none"),
        ("pipeline.bound._target_=hansa.conf.main.main", "'hansa.conf.main.main' is none"),
        ("strategy._target_=./own.py:Mine", "code of your own is named on the command line, as in strategy=./mine.py"),
        (
            "strategy._target_=hansa.strategies.Bound",
            "strategy hansa.strategies.Bound lacks endpoints(), init(), round()",
        ),
        ("task._target_=hansa.strategies.FedAvg", "task hansa.strategies.FedAvg lacks clients(), model(), data()"),
        ("+nonsense=1", "setting 'nonsense' does not exist: nearest are"),
        ("+client.nonsense=1", "client.nonsense does not exist: Local has"),
        ("~strategy.lr", ""),
    ],
)
def test_only_known_components_and_settings_are_built(hansa, word, told):
    Path("mine.py").write_text(TASK)
    code, _, err = hansa("rounds=1", word)
    assert told in err.splitlines()[-1] and (code == 1) == bool(told)


def test_a_folder_of_data_that_cannot_be_read_is_named(hansa):
    Path("data").mkdir()
    for content, told in (
        (None, "data: has no files <hospital>.csv: check task.data_dir"),
        (b"", "north.csv: the file is empty"),
        (b"age,sex\n1,2\n", "north.csv, line 1: there is no column 'trestbps'"),
        (b"age\n\xff\n", "north.csv, line 2: byte 0xff is not UTF-8"),
    ):
        if content is not None:
            Path("data/north.csv").write_bytes(content)
        code, _, err = hansa("task.data_dir=data", "rounds=1")
        assert code == 1 and told in err and "Traceback" not in err


def test_a_hospital_whose_file_is_broken_does_not_stop_the_others(hansa):
    shipped = Path(main.__file__).parents[1] / "fedtasks" / "data" / "heart_disease"
    Path("data").mkdir()
    for file in shipped.glob("*.csv"):
        Path("data", file.name).write_bytes(file.read_bytes())
    Path("data/hungary.csv").write_text("age\n")
    code, out, err = hansa("task.data_dir=data", "rounds=2")
    assert code == 0 and last(out)["failures"] == 5
    assert "round 1: hungary is left out: loading data: DataError: data/hungary.csv, line 1: there is no column" in err


def test_the_written_configuration_makes_the_same_run_again(hansa):
    own = ("strategy=median", "client=adam", "rounds=2", "seed=5", "cohort.size=3", "run_dir=first")
    first = last(hansa(*own)[1])
    written = OmegaConf.load("first/config.yaml")
    run = assemble(written, {"task": "heart_disease", "strategy": "median"})
    again = coordinator(run, inline(run))
    list(again.rounds())
    assert again.tensors()["logit.weight"].shape == (1, 13)
    assert learning_settings(written) == learning_settings(compose(list(own))[0])
    words = [f"{name}={value}" for name, value in flat_words(written)]
    second = last(hansa("strategy=median", *words, "run_dir=second")[1])
    assert second["model_sha256"] == first["model_sha256"]


def flat_words(written):
    """A written configuration as overrides, but for what is a choice and not a value."""
    for group, node in OmegaConf.to_container(written).items():
        if not isinstance(node, dict):
            yield group, "null" if node is None else node
            continue
        for name, value in node.items():
            if name != "_target_" and not isinstance(value, dict):
                yield f"{group}.{name}", "null" if value is None else value


def test_a_strategy_that_a_file_names_is_not_loaded_from_a_configuration():
    config, _ = compose([])
    config.strategy._target_ = "./never_allowed.py:Rule"
    with pytest.raises(CannotLoad, match="none of Hansa's own components"):
        assemble(config, {"task": "heart_disease", "strategy": "x"})


def test_a_setting_that_a_configuration_file_adds_is_refused():
    config = OmegaConf.create(OmegaConf.to_container(compose([])[0]))
    config.sead = 3
    with pytest.raises(UnknownSetting, match="setting 'sead' does not exist: nearest are seed"):
        assemble(config, {"task": "heart_disease", "strategy": "fedavg"})


def test_words_that_name_no_code_pass_as_they_are():
    words = ["-m", "task=digits,mnist", "strategy.lr=1", "+x=y.py:Z", "task"]
    assert own_code(words) == words


@pytest.mark.parametrize(
    ("words", "clip"),
    [
        (["pipeline=quantised", "pipeline.bound.clip={delta: 2.0, control: 3.0}"], {"delta": 2.0, "control": 3.0}),
        (["pipeline=quantised", "pipeline.bound.clip.control=3.0"], {"delta": 1.0, "loss": 10.0, "control": 3.0}),
        (["pipeline.bound.clip={delta: 2.0}"], {"delta": 2.0}),
        (["pipeline.bound.clip.delta=2.0"], {"delta": 2.0}),
        (["pipeline=quantised", "pipeline.bound.clip=null"], None),
    ],
)
def test_norms_are_those_that_were_given_for_any_channel(words, clip):
    assert compose(own_code(words))[0].pipeline.bound.clip == clip


def test_components_take_whole_numbers_for_reals_and_nothing_else():
    local = "hansa.fedclient.Local"
    assert build("client", {"_target_": local, "lr": 1}).lr == 1.0
    for wrong in ({"lr": True}, {"epochs": 2.0}, {"epochs": "2"}, {"lr": None}, {"optimiser": 3}):
        (name,) = wrong
        with pytest.raises(WrongValue, match=rf"client\.{name}=.* it must be"):
            build("client", {"_target_": local, **wrong})


def test_bytecode_that_lies_beside_a_file_is_not_run(tmp_path):
    path, planted = tmp_path / "mine.py", tmp_path / "other.py"
    path.write_text("found = 'shown'\n")
    planted.write_text("found = 'other'\n")
    os.utime(planted, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    cached = Path(importlib.util.cache_from_source(str(path)))
    py_compile.compile(str(planted), cfile=str(cached), dfile=str(path), doraise=True)
    assert load(path).found == "shown"
    before = cached.read_bytes()
    path.write_text("found = 'mended'\n")
    assert load(path).found == "mended" and cached.read_bytes() == before, "and none is written"


def test_the_hash_of_a_file_is_that_of_the_bytes_that_were_loaded(tmp_path):
    (path := tmp_path / "mine.py").write_text(RULE.format(name="Mine", lr=0.5))
    config, _ = compose(own_code([f"strategy={path}:Mine"]))
    told = learning_settings(config)
    path.write_text(RULE.format(name="Mine", lr=0.7))
    assert learning_settings(config) == told


def test_a_file_that_was_approved_runs_with_those_bytes_only_whoever_loads_it(tmp_path):
    (path := tmp_path / "mine.py").write_text(TASK)
    check({"file": str(path), "class": "Mine", "sha256": hashlib.sha256(TASK.encode()).hexdigest()})
    assert load(path).Mine
    path.write_text(f"{TASK}\n{tmp_path.name} = 1\n")  # between the check and the run
    with pytest.raises(NotApproved, match=r"mine.py was changed after it was approved"):
        own_code([f"task={path}:Mine"])


def test_a_file_that_was_approved_before_such_files_were_refused_does_not_run(tmp_path):
    (path := tmp_path / "mine.py").write_text(hidden := "# a comment\x85print('evil')\n")
    with pytest.raises(NotApproved, match=r"mine.py, line 1, column 12: U\+0085"):
        check({"file": str(path), "class": "Mine", "sha256": hashlib.sha256(hidden.encode()).hexdigest()})
