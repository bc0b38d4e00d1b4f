"""What a run may set at a place, whose words are not trusted, and what is each place's own."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from hansa.conf import place, wire
from hansa.conf.components import BUILT_IN, fields, resolve, site_options
from hansa.conf.compose import compose, own_code
from hansa.conf.digest import learning_settings, places
from hansa.conf.errors import CannotLoad, ConfigError, NotTaken, WrongValue
from hansa.conf.parts import GROUPS, SITE_OPTIONS, shipped
from hansa.conf.run import assemble
from hansa.conf.wire import choices, sent, words

SECRET = "hunter2"
FOLDERS = """
import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
import torch
from torch import nn
from torch.utils.data import TensorDataset
from hansa.fedtasks import Data, Task

@dataclass(frozen=True, kw_only=True)
class Mine(Task):
    site: ClassVar[tuple[str, ...]] = ("table",)
    root: Path = Path("nowhere")
    more: Path | None = None
    others: tuple[Path, ...] = ()
    by_name: dict[str, Path] | None = None
    link: os.PathLike[str] | str = ""
    table: str = ""
    depth: int = 1
    def clients(self): return ("a", "b")
    def model(self): return nn.Linear(2, 2)
    def data(self, client):
        assert isinstance(self.root, Path) and self.root.exists(), self.root
        return Data(TensorDataset(torch.ones(4, 2), torch.zeros(4).long()))
"""


@pytest.fixture
def secrets(tmp_path):
    """A place's own file, by the path that leads to it from each group of the configuration."""
    (tmp_path / "secrets.yaml").write_text(f"_target_: hansa.fedtasks.partitions.Iid\npassword: {SECRET}\n")
    conf = Path(str(files("hansa.conf")))
    return {group: os.path.relpath(tmp_path / "secrets", conf / group) for group in GROUPS}


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "mine.py").write_text(FOLDERS)
    return f"task={tmp_path / 'mine.py'}:Mine"


def test_hydra_would_read_any_file_by_such_a_choice(secrets):
    assert compose([f"partition={secrets['partition']}"])[0].partition.password == SECRET


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize(
    "spelling",
    [
        "{group}={path}",
        "{group}='{path}'",
        '{group}="{path}"',
        "'{group}=\"{path}\"'",
        "{group}={path}.yaml",
        "{group}=[{path}]",
        "{group}=[{first},{path}]",
        "{group}={first},{path}",
        "{group}=str({path})",
        "{group}=choice({path})",
        "{group}=glob(*)",
        "{group}={path}@{group}",
        "{group}@{group}={path}",
        "{group}@_global_={path}",
        "{group}@:{group}={path}",
        "/{group}={path}",
        "/hydra/{group}={path}",
        "+{group}={path}",
        "++{group}={path}",
        "~{group}={first}",
        "{group}/../{group}={path}",
        "{group}=/{group}/{path}",
        "{group}={group}/{first}",
        "{group}=./{first}",
        "{group}=../{group}/{first}",
        "{group}={first}.yaml",
        "{group}={first}\\\\",
        "'{group}= {first}'",
        "'{group}={first} '",
        "'{group} ={first}'",
        "{group}=null",
        "{group}=",
        "{group}={{}}",
        "{group}={{password:1}}",
        "{group}=[]",
        "{group}=__init__",
        "{group}=__pycache__",
        "{group}={first},{first}",
        "{upper}={first}",
        "__pycache__={path}",
        "hydra={path}",
        "schema={path}",
        "defaults=[{path}]",
        "config={path}",
        "{group}=${{{group}}}",
        "{group}={first}${{oc.env:HOME}}",
    ],
)
def test_a_choice_is_the_name_of_what_ships_or_is_installed_word_for_word(secrets, group, spelling):
    first = shipped(group)[0]
    word = spelling.format(group=group, path=secrets[group], first=first, upper=group.upper())
    with pytest.raises(NotTaken) as refused:
        place.settings(f"task=heart_disease {word}", "")
    assert SECRET not in str(refused.value) and "\n" not in str(refused.value)
    assert sent(f"{group}={first}") == [f"{group}={first}"]


def test_every_choice_that_ships_is_taken_and_no_other(monkeypatch):
    for group in GROUPS:
        assert {*shipped(group)} <= {*choices(group)}
    assert all(len(sent(f"{group}={name}")) == 1 for group in GROUPS for name in shipped(group))
    monkeypatch.setattr(wire, "installed", lambda: {"tethered": None})
    assert sent("strategy=tethered") == ["strategy=tethered"]
    for other in ("selection=tethered", "strategy=tether", "strategy=harbour_strategies:Tethered"):
        with pytest.raises(NotTaken):
            sent(other)


def test_what_another_run_registered_in_this_process_cannot_be_chosen(mine):
    assert words("task=mine.py:Mine", mine)[-1].startswith("task=Mine")
    with pytest.raises(NotTaken, match="'task=Mine' came with the run"):
        words("task=Mine", "")


def test_norms_mean_the_same_at_a_place_as_at_the_coordinator():
    for run in (
        ["pipeline=quantised", "pipeline.bound.clip={delta: 2.0, control: 3.0}"],
        ["pipeline=quantised", "pipeline.bound.clip.control=3.0"],
    ):
        there = place.settings(" ".join(f"'{word}'" for word in run), "")[0]
        assert there == compose(own_code(run))[0]


@pytest.mark.parametrize(
    "word",
    [
        "task.root=/etc",
        "task.root.a=1",
        "task.more=/etc",
        "task.others=[/etc]",
        "task.by_name={a:/etc}",
        "task.by_name.a=/etc",
        "task.table=patients",
        "task.table=",
        "task.link=/etc",
    ],
)
def test_places_of_data_do_not_come_with_a_run(mine, tmp_path, word):
    run = "task=mine.py:Mine task.depth=2"
    assert place.settings(run, mine)[0].task.depth == 2
    with pytest.raises(ConfigError) as refused:
        place.settings(f"{run} {word}", f"{mine} task.root={tmp_path / SECRET}")
    assert SECRET not in str(refused.value)


def test_a_run_that_sets_a_place_of_data_is_refused_by_name_with_the_remedy(mine):
    with pytest.raises(NotTaken, match=r"'task.root=/etc' came with the run: task.root is each place's own: set it"):
        place.settings("task=mine.py:Mine task.root=/etc", mine)
    with pytest.raises(NotTaken, match=r"'task.dataset=/etc' came with the run: task.dataset is each place's own"):
        place.settings("task=huggingface task.dataset=/etc", "task.dataset=ylecun/mnist")


def test_a_place_sets_its_own_places_of_data_and_they_are_no_part_of_the_learning(mine, tmp_path):
    at_home = place.settings("task=mine.py:Mine", f"{mine} task.root={tmp_path} task.table=x")[0]
    elsewhere = place.settings("task=mine.py:Mine", mine)[0]
    assert at_home.task.root == str(tmp_path)
    assert learning_settings(at_home) == learning_settings(elsewhere)
    assert "task.depth" in learning_settings(at_home)
    assert places(at_home) == {f"task.{name}" for name in ("root", "more", "others", "by_name", "table", "link")}
    with pytest.raises(WrongValue, match=r"'task.depth=3' is not a place's own setting"):
        place.settings("task=mine.py:Mine", f"{mine} task.depth=3")


@pytest.mark.parametrize("site", ["('tabel',)", "'table'"])
def test_a_slip_in_the_list_of_a_places_own_options_is_told_and_protects_nothing_less(tmp_path, site):
    path = tmp_path / "mine.py"
    path.write_text(FOLDERS.replace('("table",)', site))
    with pytest.raises(CannotLoad, match="which is none of its options: root, more, others"):
        place.settings("task=mine.py:Mine", f"task={path}:Mine")


def test_a_simulation_sets_places_of_data_as_any_option(mine, tmp_path):
    task = assemble(*compose(own_code([mine, "rounds=1", f"task.root={tmp_path}"]))).work.task
    assert task.root == tmp_path and task.more is None
    assert len(task.data("a").train) == 4


def test_the_table_of_built_in_components_says_what_their_classes_say():
    for target in BUILT_IN:
        component = resolve(target)
        told = frozenset(getattr(component, "site", ()))
        assert told == frozenset(SITE_OPTIONS.get(target, ())) == site_options(target), target
        assert not [name for name, value in fields(component).items() if isinstance(value, Path)], target
        assert all("Path" not in str(f.type) for f in getattr(component, "__dataclass_fields__", {}).values()), target


def test_a_built_in_tasks_configuration_is_compared_without_torch():
    code = (
        "import sys; from hansa.conf import place; from hansa.conf.digest import learning_settings;"
        "told = learning_settings(place.settings('task=huggingface', 'task.dataset=here')[0]);"
        "print('torch' in sys.modules, 'task.dataset' in told, 'task.label' in told)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False True\n"
