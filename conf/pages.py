"""The pages of the strategies, written from their code, and what a terminal shows of one of them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from hansa.conf.composition import Verdicts, composition
from hansa.conf.facts import Facts, strategies

ADDS = {
    "sum": "one sum, in the memory of one row",
    "groups": "a sum for each group",
    "rows": "rows: one a client stays in memory, and the coordinator sees each",
}
WORKS = "yes"


def told(fact: Facts) -> list[tuple[str, str]]:
    """Say in words what a strategy is, keeps and asks."""
    return [
        ("paper", fact.paper),
        ("the coordinator keeps", ", ".join(["model", *fact.server_state])),
        ("a client keeps", ", ".join(fact.client_state) or "nothing, but private tensors where the model has some"),
        ("requests a round", str(fact.requests)),
        ("answers are added as", ADDS[fact.adds]),
        ("evaluation", "of the common model, and of each client's own" if fact.own_models else "of the common model"),
    ]


def composed(fact: Facts) -> Iterator[tuple[str, str]]:
    """Say in words what a strategy goes with, and of all else why not."""
    for name, verdicts in composition(fact).items():
        yield NAMES[name], ", ".join(works(verdicts)) or "none"
        for why in dict.fromkeys(filter(None, verdicts.values())):
            yield f"  not {', '.join(what for what, other in verdicts.items() if other == why)}", why


def works(verdicts: Verdicts) -> list[str]:
    """Return what goes together."""
    return [what for what, why in verdicts.items() if not why]


def written(value: Any) -> str:
    """Write a default as YAML has it."""
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()


def overview() -> str:
    """Write docs/strategies.md."""
    facts = list(strategies())
    return "\n".join(
        [
            OVERVIEW,
            *_table(["strategy", "what it is"], [[f"[`{fact.name}`](#{fact.name})", fact.about] for fact in facts]),
            *(_section(fact) for fact in facts),
        ]
    )


def compositions() -> str:
    """Write docs/composition.md: a matrix for each kind of thing that strategies go with, and the reasons below."""
    tables = {fact.name: composition(fact) for fact in strategies()}
    reasons: dict[str, int] = {}
    parts = [COMPOSITION]
    for name, text in TEXTS.items():
        rows = {strategy: table[name] for strategy, table in tables.items()}
        parts += [f"## {NAMES[name].capitalize()}", "", textwrap.fill(text, 120), "", *_matrix(rows, reasons)]
    notes = [f"{number}. {why}" for why, number in reasons.items()]
    return "\n".join([*parts, "## Why not", "", *notes, ""])


def _matrix(rows: Mapping[str, Verdicts], reasons: dict[str, int]) -> list[str]:
    """Write a table of a mark for each verdict, a line for all strategies that are alike; reasons get numbers."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for strategy, verdicts in rows.items():
        alike.setdefault(tuple(verdicts.values()), []).append(f"[`{strategy}`](strategies.md#{strategy})")
    cells = [
        [*(str(reasons.setdefault(why, len(reasons) + 1)) if why else WORKS for why in verdicts), ", ".join(names)]
        for verdicts, names in sorted(alike.items())
    ]
    return _table([*next(iter(rows.values())), "strategies"], cells)


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [*(f"| {' | '.join(cells)} |" for cells in lines), ""]


def _section(fact: Facts) -> str:
    settings = [[f"`strategy.{name}`", f"`{written(value)}`"] for name, value in fact.settings.items()]
    lines = [f"- {name}: {value}" for name, value in told(fact)]
    table = ["", *_table(["setting", "default"], settings)] if settings else [""]
    return "\n".join([f"## {fact.name}", "", "```text", fact.equations, "```", "", *lines, *table])


OVERVIEW = """# The strategies

This page is made from the code by `python docs/strategies.py`; `hansa strategies NAME` shows the same of one. What each
goes with is in [composition.md](composition.md).
"""

COMPOSITION = """# What goes with what

This page is made from the code by `python docs/strategies.py`: each strategy was built with each thing below. *Yes*
works, and a number is the reason [at the end](#why-not) why not. `hansa strategies NAME` shows the same of one
strategy. What is refused is refused when the configuration is read. A test demands these very words, and carries out
rounds of what is said to work, with pipelines and places mixed.
"""

NAMES = {
    "pipelines": "pipelines",
    "adding": "ways of adding",
    "places": "places",
    "tasks": "tasks and training",
    "allowed": "what its sums allow",
}

TEXTS = {
    "pipelines": "`plain`, `norm_bounding` and `quantised` are choices of `pipeline=`. *all clipped* stands for a "
    "norm for every channel of the rows, as in `'pipeline.bound.clip={delta: 1.0, loss: 10.0}'`, and "
    "*bits* for `pipeline=quantised` with that. Integers of 16 bits need `cohort.max` near the size of "
    "the cohort.",
    "adding": "One sum takes the memory of one answer; `strategy.groups=m` keeps a sum for each of m groups of "
    "clients, and `strategy.groups=0` each client's row. [strategies.md](strategies.md) says which is a"
    " strategy's default.",
    "places": "*inline*, *processes*, *vectorised* and *ray* are the engines of `hansa simulate`, *serve* is "
    "`hansa serve` with devices, and *SuperLink* a Flower federation. Simulated clients may have "
    "virtual *devices*, and some may attack, by *forging* updates (`attack=sign_flip`) or *poisoning* "
    "their data (`attack=label_flip`). One code answers in all places. Rounds with *ray*, *serve* and "
    "*SuperLink* are carried out by tests of their own, of a few strategies. What a client keeps "
    "outlives a restart of its SuperNode if that has a `state-dir` ([superlink.md](superlink.md)).",
    "tasks": "*own train()* is a task with a training loop of its own ([tasks.md](tasks.md)). *another "
    "optimiser* is all but plain SGD: also momentum, weight decay or `client.proximal`. *all shared* is"
    " a model without private tensors.",
    "allowed": "What can be done with a strategy's answers, by what is known of its rows and sums. Masks (secure"
    " aggregation) and central noise are not part of Hansa yet: the columns say where they could be. *masks* need "
    "answers that are only looked at in sums of integers, and *noise* sums on which one client's "
    "influence is bounded, with every channel clipped. *robust* is what a few updates, however large, "
    "cannot move at will. *asynchronous* is `cohort=asynchronous`, whose rounds count answers to earlier ones.",
}
