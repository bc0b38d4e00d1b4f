"""What ``hansa strategies NAME`` and docs/strategies.md say of the strategies is read off their code."""

from __future__ import annotations

from pathlib import Path

import pytest

from hansa.conf.catalogue import main
from hansa.conf.errors import UnknownSetting
from hansa.conf.facts import Facts, strategies
from hansa.conf.pages import overview, told

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_of_strategies_is_fresh():
    assert (DOCS / "strategies.md").read_text(encoding="utf-8") == overview(), "run python docs/strategies.py"


def test_facts_are_those_of_the_code():
    scaffold, median, ditto = Facts("scaffold"), Facts("median"), Facts("ditto")
    assert (scaffold.server_state, scaffold.client_state, scaffold.adds) == (["control"], ["scaffold"], "sum")
    assert "Karimireddy et al. 2020" in scaffold.paper and "c_i+ = c_i - c" in scaffold.equations
    assert median.adds == "rows"
    assert ditto.own_models and not scaffold.own_models
    assert ditto.settings["attraction"] == 0.1


@pytest.mark.parametrize("fact", list(strategies()), ids=lambda fact: fact.name)
def test_every_strategy_names_its_paper_and_has_equations(fact):
    assert "20" in fact.paper or "20" in fact.about, "a year"
    assert len(fact.equations.splitlines()) > 1 and all(value for _, value in told(fact))


def test_one_strategy_is_shown_whole(capsys):
    main(["scaffold"])
    shown = capsys.readouterr().out
    for words in (
        "Karimireddy",
        "y_i <- y_i - eta (g_i(y_i) - c_i + c)",
        "a client keeps",
        "strategy.lr",
        "not quantised",
    ):
        assert words in shown


def test_the_list_tells_paper_state_and_what_each_goes_with(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    main([])
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 100
    lines = shown[shown.index("\nscaffold") + 1 :].splitlines()[:2]
    for words in ("Karimireddy", "coordinator:", "masks, noise", "control; client:", "asynchronous"):
        assert words in " ".join(lines), lines
    assert "private=[norms]" in shown


def test_an_unknown_name_is_told_with_its_neighbours():
    with pytest.raises(UnknownSetting, match="no such strategy: nearest are scaffold"):
        main(["scafold"])
