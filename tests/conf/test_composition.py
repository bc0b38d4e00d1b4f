"""docs/composition.md is true: refusals are in its words, and rounds of what it allows are carried out."""

from __future__ import annotations

import copy
import functools
from pathlib import Path

import pytest
from omegaconf import DictConfig

from hansa.conf.components import fields, resolve
from hansa.conf.compose import compose, own_code
from hansa.conf.composition import FREE, ONE_WAY, composition
from hansa.conf.composition import GROUPS as ADDING
from hansa.conf.facts import Facts, strategies
from hansa.conf.pages import compositions
from hansa.conf.simulate import prepare

DOCS = Path(__file__).parents[2] / "docs"
WORLD = ("task=digits", "task.test=0.8", "clients=12", "cohort.max=12", "rounds=2", "evaluation.every=2", "workers=2")
FACTS = list(strategies())
MIXED = {
    "inline": ("plain", ()),
    "processes": ("all clipped + 16 bits", ("federation=processes",)),
    "vectorised": ("all clipped + 32 bits", ("federation=vectorised",)),
    "devices": ("norm_bounding", ("devices=hospitals",)),
    "forging": ("all clipped", ("attack=sign_flip",)),
    "poisoning": ("quantised", ("attack=label_flip", "federation=processes")),
}
"""Each place that is tried, with one of the pipelines, so that all of these are tried too."""
ELSEWHERE = {"ray", "serve", "SuperLink"}
"""Places with tests of their own: simulations/test_ray.py, test_link.py and test_superlink.py."""
MANY = 60
"""Clients that leave none of eight groups empty."""
LOOP = """
from hansa.fedtasks.digits import Digits

class Looping(Digits):
    def train(self, model, data, settings, rng):
        model[0].bias.data += 0.01
        return 1.0
"""
every_strategy = pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.name)


@pytest.fixture(scope="module")
def looping_py(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("task") / "looping.py"
    path.write_text(LOOP, encoding="utf-8")
    return path


@functools.cache
def composed(*words: str) -> tuple[DictConfig, dict[str, str]]:
    return compose(own_code([*WORLD, *words]))


class Asked:
    """The configuration of a strategy, changed group by group, as words on a command line would."""

    def __init__(self, fact: Facts, *, shared: bool = False) -> None:
        self.fact, (config, choices) = fact, composed(f"strategy={fact.name}")
        self.config, self.choices = copy.deepcopy(config), dict(choices)
        self.config.federation = "inline"
        self.config.lost_rounds = 1
        if "local_rounds" in fact.settings:
            self.config.strategy.local_rounds = 2
        if "root" in fact.settings:
            self.config.strategy.root = "client-00"
        if composition(fact)["tasks"]["all shared"] and not shared:
            self.config.private = ["2.*"]

    def group(self, word: str) -> Asked:
        group, _, choice = word.partition("=")
        self.config[group], self.choices[group] = copy.deepcopy(composed(word)[0][group]), choice
        return self

    def pipeline(self, name: str) -> Asked:
        base, _, bits = name.partition(" + ")
        self.group(f"pipeline={base if base != 'all clipped' else 'quantised' if bits else 'plain'}")
        if base == "all clipped":
            self.config.pipeline.bound.clip = dict.fromkeys(self.fact.channels, 1.0)
        if bits:
            self.config.pipeline.quantise.bits = int(bits.removesuffix(" bits"))
        return self

    def place(self, *words: str) -> Asked:
        for word in words:
            group, _, choice = word.partition("=")
            if group == "federation":
                self.config.federation = choice
            else:
                self.group(word)
        if self.config.devices:
            self.config.devices.dropout.chance = 0.0
        return self

    def task(self, name: str, looping_py: Path) -> Asked:
        if name == "own train()":
            looping, choices = composed(f"task={looping_py}:Looping")
            self.config.task, self.choices["task"] = copy.deepcopy(looping.task), choices["task"]
        if name == "another optimiser":
            self.config.client.momentum = 0.9
        return self

    def refusal(self) -> str:
        """What reading the configuration, and starting what it names, raises."""
        with pytest.raises(Exception) as raised, prepare(self.config, self.choices):
            pass
        assert type(raised.value).__module__.startswith("hansa.")
        return str(raised.value)

    def carry_out(self, folder: Path) -> None:
        self.config.run_dir = str(folder / "run")
        with prepare(self.config, self.choices) as runner:
            runner.carry_out()
        summary = runner.summary
        assert (summary["stopped"], summary["rounds"], summary["failures"]) == ("finished", 2, 0)

    def demand(self, why: str, folder: Path) -> None:
        """The verdict of the table is what becomes of this configuration."""
        if why:
            assert self.refusal() == why
        else:
            self.carry_out(folder)


def test_the_page_is_fresh():
    assert (DOCS / "composition.md").read_text(encoding="utf-8") == compositions(), "run python docs/strategies.py"


@every_strategy
def test_pipelines_and_places_do_what_the_page_says(fact, tmp_path):
    table, pipelines = composition(fact)["places"], composition(fact)["pipelines"]
    assert table.keys() == MIXED.keys() | ELSEWHERE and not any(table[name] for name in ELSEWHERE)
    assert pipelines.keys() == {pipeline for pipeline, _ in MIXED.values()}
    for name, (pipeline, words) in MIXED.items():
        refused = pipelines[pipeline]
        asked = Asked(fact).place(*words).pipeline("plain" if refused else pipeline)
        asked.demand(table[name], tmp_path / name)
        if refused or table[name]:
            Asked(fact).pipeline(pipeline).demand(refused, tmp_path / pipeline)


@every_strategy
def test_answers_are_added_as_the_page_says(fact, tmp_path):
    for kind, why in composition(fact)["adding"].items():
        asked = Asked(fact).place("federation=processes").pipeline("all clipped + 16 bits")
        if "groups" in fact.settings:
            asked.config.strategy.groups = ADDING[kind]
            asked.config.clients = asked.config.cohort.max = MANY
            asked.demand(why, tmp_path / kind)
        else:
            assert "groups" not in fields(resolve(asked.config.strategy._target_))
            assert why == ("" if kind == fact.adds else ONE_WAY)


@every_strategy
def test_tasks_do_what_the_page_says(fact, looping_py, tmp_path):
    for name, why in composition(fact)["tasks"].items():
        if why or name != "all shared":  # where it works, all other rounds are so
            Asked(fact, shared=name == "all shared").task(name, looping_py).demand(why, tmp_path / name)


@every_strategy
def test_asynchronous_rounds_do_what_the_page_says(fact, tmp_path):
    asked = Asked(fact).place("cohort=asynchronous", "devices=hospitals")
    asked.config.cohort.buffer = 7
    asked.demand(composition(fact)["allowed"]["asynchronous"], tmp_path)


@every_strategy
def test_what_sums_allow_follows_from_how_rounds_go(fact):
    allowed = composition(fact)["allowed"]
    assert (not allowed["masks"]) == (not allowed["noise"]) == (fact.adds != "rows")
    assert ("several requests" in allowed["asynchronous"]) == (fact.requests > 1)
    assert fact.adds == "sum" or not allowed["robust"]


def test_tables_tell_what_is_known_of_a_few():
    tables = {fact.name: composition(fact) for fact in FACTS}
    robust = {name for name, table in tables.items() if not table["allowed"]["robust"]}
    assert {"median", "median_of_means", "rfa", "fltrust"} <= robust and not {"fedavg", "term", "scaffold"} & robust
    assert "a contrast of representations (MOON) cannot be batched" in tables["moon"]["places"]["vectorised"]
    assert "have no channel 'delta' that could be forged" in tables["fedasync"]["places"]["forging"]
    assert "give pipeline.bound.clip a norm for control" in tables["scaffold"]["pipelines"]["quantised"]
    assert "Krum with byzantine=1 needs 5 clients" in tables["krum"]["adding"]["sum"]
    assert "needs private tensors" in tables["fedper"]["tasks"]["all shared"]
    assert not any(why for table in tables["fedavg"].values() for why in table.values() if why not in (ONE_WAY, FREE))
