"""What is to be known of a strategy, read off its code: paper, state, requests, and what it composes with."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Any

import yaml

from hansa.conf.components import build
from hansa.strategies import Bound, Cohort, CompositionError, Endpoint, Quantise, Strategy, Transform
from hansa.strategies.laws import Quadratic, play
from hansa.strategies.questions import PERSONAL
from hansa.strategies.work import PRIVATE

CLIENTS = 12
"""How many take part in the rounds that are played to see what a strategy does."""
WORLD = Quadratic.of(clients=CLIENTS, personal=2)
COHORT = Cohort(expected=CLIENTS, max=CLIENTS)


@dataclass(frozen=True)
class Facts:
    """A strategy of ``conf/strategy``, by the name by which it is chosen."""

    name: str

    @cached_property
    def about(self) -> str:
        """What it is, in a sentence."""
        return self._text.splitlines()[0].removeprefix("# ")

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Its settings and their defaults, those of components in it by dotted names."""
        return dict(flat(self._values))

    @property
    def paper(self) -> str:
        """The first paragraph of the file of its rule, where it has one, or of its own."""
        paragraph = inspect.cleandoc(sys.modules[self._kinds[-1].__module__].__doc__ or "").partition("\n\n")[0]
        return " ".join(paragraph.split())

    @property
    def equations(self) -> str:
        """What its class says of itself, and its rule's."""
        return "\n\n".join(inspect.cleandoc(kind.__doc__ or "") for kind in self._kinds)

    @cached_property
    def server_state(self) -> list[str]:
        """What the coordinator keeps from round to round, beside the model."""
        return sorted(play(self._built(), WORLD, 1).steps[0].after.keys() - {"model"})

    @cached_property
    def client_state(self) -> list[str]:
        """What a client keeps from round to round, beside its private parameters."""
        found = {name for end in self._trained for name in end.work.start(WORLD, WORLD.parameters, WORLD.names)}
        return sorted(found - {PRIVATE})

    @cached_property
    def requests(self) -> int:
        """How many requests a round takes."""
        return len(play(self._built(), WORLD, 1).steps[0].asked)

    @property
    def adds(self) -> str:
        """What becomes of the rows: one sum, sums of groups, or every row is kept."""
        groups = {end.aggregator.groups for end in self._trained}
        return "rows" if 0 in groups else "sum" if groups == {1} else "groups"

    @property
    def own_models(self) -> bool:
        """Whether evaluation also tells what each client's own model reaches."""
        return PERSONAL in self._endpoints

    @cached_property
    def quantised(self) -> str:
        """Why it cannot be sent as integers; empty where it can."""
        channels = {channel.name for end in self._trained for channel in end.pipeline.row.channels}
        try:
            self._built((Bound(clip=dict.fromkeys(sorted(channels - {"weight"}), 1.0)), Quantise())).endpoints(
                WORLD.problem(COHORT)
            )
        except CompositionError as refused:
            return str(refused)
        return ""

    @cached_property
    def _text(self) -> str:
        return files("hansa.conf").joinpath("strategy", f"{self.name}.yaml").read_text(encoding="utf-8")

    @cached_property
    def _values(self) -> dict[str, Any]:
        return dict(yaml.safe_load(self._text))

    def _built(self, pipeline: tuple[Transform, ...] = (Bound(),)) -> Strategy:
        values = self._values | ({"root": WORLD.names[0]} if "root" in self._values else {})
        made: Strategy = build("strategy", values, pipeline=pipeline)
        return made

    @property
    def _kinds(self) -> list[type]:
        """The strategy's class, and those of components in it."""
        strategy = self._built()
        parts = [type(part) for name, part in vars(strategy).items() if name != "pipeline"]
        return [type(strategy), *(part for part in parts if part.__module__.startswith("hansa.strategies."))]

    @cached_property
    def _endpoints(self) -> dict[str, Endpoint]:
        return dict(self._built().endpoints(WORLD.problem(COHORT)))

    @property
    def _trained(self) -> list[Endpoint]:
        return [end for name, end in self._endpoints.items() if name.startswith("train.")]


def flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Go through a component's settings, and by dotted names those of the components in it."""
    for name, value in values.items():
        if isinstance(value, Mapping) and "_target_" in value:
            yield from flat(value, f"{above}{name}.")
        elif name != "_target_":
            yield above + name, value


def strategies() -> Iterator[Facts]:
    """Go through Hansa's own strategies, by name."""
    for file in sorted(files("hansa.conf").joinpath("strategy").iterdir(), key=lambda file: file.name):
        if file.name.endswith(".yaml"):
            yield Facts(file.name.removesuffix(".yaml"))


def told(fact: Facts) -> list[tuple[str, str]]:
    """Say in words what a strategy keeps, asks and composes with."""
    return [
        ("paper", fact.paper),
        ("the coordinator keeps", ", ".join(["model", *fact.server_state])),
        ("a client keeps", ", ".join(fact.client_state) or "nothing, but private tensors where the model has some"),
        ("requests a round", str(fact.requests)),
        ("answers are added as", ADDS[fact.adds]),
        ("pipeline=quantised", fact.quantised or "works"),
        ("evaluation", "of the common model, and of each client's own" if fact.own_models else "of the common model"),
    ]


ADDS = {
    "sum": "one sum, in the memory of one row",
    "groups": "a sum for each group",
    "rows": "rows: one a client stays in memory, and the coordinator sees each",
}


def page() -> str:
    """Write docs/algorithms.md."""
    all_of_them = list(strategies())
    rows = [
        f"| [`{fact.name}`](#{fact.name}) | {fact.about} | {', '.join(fact.server_state) or '-'} | "
        f"{', '.join(fact.client_state) or '-'} | {fact.adds} | {'no' if fact.quantised else 'yes'} |"
        for fact in all_of_them
    ]
    table = [
        "| strategy | what it is | coordinator keeps | a client keeps | adds | 16 bits |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join([HEAD, *table, *rows, "", *(_section(fact) for fact in all_of_them)])


HEAD = """# The algorithms

This page is made from the code by `python docs/algorithms.py`; `hansa strategies NAME` shows the same of one. *Adds* is
how clients' answers are put together: a sum needs the memory of one answer, rows that of all. *16 bits* is
`pipeline=quantised`.
"""


def _section(fact: Facts) -> str:
    settings = [f"| `strategy.{name}` | `{written(value)}` |" for name, value in fact.settings.items()]
    lines = [f"- {name}: {value}" for name, value in told(fact)]
    table = ["", "| setting | default |", "|---|---|", *settings] if settings else []
    return "\n".join([f"## {fact.name}", "", "```text", fact.equations, "```", "", *lines, *table, ""])


def written(value: Any) -> str:
    """Write a default as YAML has it."""
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()
