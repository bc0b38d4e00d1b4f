"""Groups, components and digests agree."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from hansa.conf.catalogue import rows
from hansa.conf.components import BUILT_IN, GIVEN, allow, build, fields, resolve
from hansa.conf.compose import compose, flat, own_code
from hansa.conf.digest import digest, learning_settings
from hansa.conf.errors import CannotLoad, ConfigError, UnknownSetting, WrongValue
from hansa.conf.parts import OPERATION, SITE
from hansa.conf.wire import check_places, words
from hansa.strategies import Robust
from hansa.strategies.rules import Krum, Median

CONF = Path(__file__).parents[2] / "conf"
FILES = [
    path
    for group in ("task", "partition", "strategy", "client", "cohort", "selection")
    for path in (CONF / group).glob("*.yaml")
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}={path.stem}")
def test_a_choice_sets_every_field_of_its_component(path):
    config, _ = compose([f"{path.parent.name}={path.stem}"])
    node = dict(config[path.parent.name])
    component = resolve(node.pop("_target_"))
    assert node.keys() == fields(component).keys() - set(GIVEN)
    written = yaml.safe_load(path.read_text())
    if path.parent.name in ("partition", "selection") or path.stem in (
        "afl",
        "fedadagrad",
        "fedadam",
        "fedavg",
        "fedavgm",
        "fednova",
        "fedyogi",
        "median",
        "trimmed_mean",
        "krum",
        "bulyan",
        "geometric_median",
        "centred_clipping",
        "qfedavg",
        "scaffold",
        "term",
        "sgd",
        "everyone",
        "heart_disease",
        "digits",
        "mnist",
    ):
        rule = written.pop("rule", None)
        assert all(fields(component)[name] == value for name, value in written.items() if name != "_target_")
        assert rule is None or rule == {"_target_": rule["_target_"], **fields(resolve(rule["_target_"]))}


def test_every_built_in_component_can_be_chosen():
    chosen = {
        line.split()[1]
        for path in CONF.rglob("*.yaml")
        for line in path.read_text().splitlines()
        if "_target_:" in line
    }
    assert chosen == set(BUILT_IN)


def digest_of(*overrides):
    return digest(learning_settings(compose(list(overrides))[0]))


def test_the_digest_covers_learning_and_nothing_else():
    for setting, value in flat(compose([])[0]).items():
        if isinstance(value, bool) or setting.endswith("_target_") or not isinstance(value, int | float):
            continue
        moved = digest_of(f"{setting}={value + 1}") != digest_of()
        assert moved == (setting not in SITE | OPERATION), setting


def test_the_digest_moves_with_a_file(tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text("from hansa.strategies import FedAvg\nclass Rule(FedAvg): ...\n")
    allow("strategy", f"{mine}:Rule")
    config, _ = compose([])
    config.strategy._target_ = f"{mine}:Rule"
    before = learning_settings(config)
    mine.write_text(mine.read_text() + "# changed\n")
    assert learning_settings(config) == before, "what runs is what was loaded"
    allow("strategy", f"{mine}:Rule")
    after = learning_settings(config)
    assert {name for name in before if before[name] != after[name]} == {"strategy file"}
    assert str(tmp_path) not in "".join(before.values()), "a place's paths do not leave it"


@pytest.mark.parametrize(
    "wire",
    [
        "task._target_=os.system +a=1",
        "+a=1",
        "~task",
        "hydra.run.dir=x",
        "hydra/job_logging=default",
        "task.net=${oc.env:HOME}",
        "task=./evil.py:Task",
        "strategy=/tmp/evil.py:Rule",
        "task@here=digits",
        "-m",
        "task={data_dir:/x}",
        "task='",
    ],
)
def test_only_plain_settings_come_over_the_wire(wire):
    with pytest.raises(ConfigError):
        build("task", dict(compose(words(wire, ""))[0].task))


def test_no_target_comes_over_the_wire_and_from_elsewhere_it_must_be_known():
    with pytest.raises(ConfigError, match="only plain settings"):
        words("task._target_=hansa.fedtasks.digits.Digits", "")
    with pytest.raises(ConfigError, match="none of Hansa's own components"):
        build("task", dict(compose(["task._target_=os.system"])[0].task))


def test_a_place_keeps_its_own_settings(tmp_path):
    got = words("task=digits client.device=cuda run_dir=/x rounds=3", "client.device=cpu")
    assert got == ["task=digits", "rounds=3", "client.device=cpu"]
    with pytest.raises(WrongValue, match="'rounds=9' is not a place's own setting"):
        check_places("", "rounds=9", ())
    mine = tmp_path / "mine.py"
    mine.write_text("from hansa.strategies import FedAvg\nclass Copy(FedAvg): ...\n")
    assert words("strategy=./mine.py:Copy seed=1", f"strategy={mine}:Copy") == ["seed=1", "strategy=Copy"]


def test_an_unknown_field_of_a_component_is_named_with_its_neighbours():
    with pytest.raises(UnknownSetting, match=r"client\.lrate does not exist: Local has lr"):
        build("client", {"_target_": "hansa.fedclient.Local", "lrate": 1.0})


def test_a_component_may_stand_in_a_field():
    config, _ = compose(["strategy=krum", "strategy.rule.byzantine=2", "strategy.bucket=2"])
    assert build("strategy", config.strategy) == Robust(rule=Krum(byzantine=2), bucket=2)
    with pytest.raises(UnknownSetting, match=r"setting 'strategy\.rule\.byzantin' does not exist: nearest are"):
        compose(["strategy=krum", "strategy.rule.byzantin=2"])
    with pytest.raises(UnknownSetting, match=r"strategy\.rule\.f does not exist: Krum has .*byzantine"):
        build("strategy", compose(["strategy=krum", "+strategy.rule.f=2"])[0].strategy)
    with pytest.raises(WrongValue, match=r"strategy\.rule\.byzantine=1\.5: it must be int"):
        build("strategy", compose(["strategy=krum", "strategy.rule.byzantine=1.5"])[0].strategy)
    for rule in (3, {"_target_": "hansa.strategies.Bound"}):
        with pytest.raises(WrongValue, match=r"strategy\.rule=.*: it must be a Rule"):
            build("strategy", {"_target_": "hansa.strategies.Robust", "rule": rule})
    with pytest.raises(CannotLoad, match="none of Hansa's own"):
        build("strategy", compose(["strategy=median", "strategy.rule._target_=os.system"])[0].strategy)


def test_settings_of_a_component_in_a_field_are_listed():
    listed = {name: settings for name, _, settings in rows("strategy")}
    assert listed["krum"] == "lr, rule.byzantine, rule.keep, groups, bucket, worker_momentum"


def test_a_component_in_a_field_is_the_default_of_a_class_of_ones_own(tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text("from hansa.strategies import Robust\nclass Own(Robust): ...\n")
    config, _ = compose(own_code([f"strategy={mine}:Own"]))
    assert config.strategy.rule == {"_target_": "hansa.strategies.rules.Median"}
    assert build("strategy", config.strategy).rule == Median()
