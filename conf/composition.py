"""What goes with what: each strategy with pipelines, ways of adding, places and tasks, found by building it so.

A table of a strategy gives each thing it may be put together with a verdict: empty where that works, else why not, in
the words of the refusal.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from importlib.resources import files
from typing import Any, TypeAlias

import yaml

from hansa.conf.components import build
from hansa.conf.facts import Facts
from hansa.fedserver.asynchronous import Asynchronous, unbuffered
from hansa.simulations.refusals import unattacked, unbatched
from hansa.strategies import Bound, CompositionError, Endpoint, Quantise, Transform

Verdicts: TypeAlias = dict[str, str]
Endpoints: TypeAlias = Mapping[str, Endpoint]

GROUPS = {"sum": 1, "groups": 8, "rows": 0}
"""What ``strategy.groups`` is for each way of adding; eight groups are enough for every rule's own defaults."""
TASKS: dict[str, dict[str, Any]] = {
    "own train()": {"training": frozenset()},
    "another optimiser": {"training": frozenset({"corrects", "contrasts"})},
    "all shared": {"private": 0},
}
"""Tasks and local training that not every strategy can do with, as `Problem` has them."""

CLIPPED = "all clipped"
ONE_WAY = (
    "strategy.groups does not exist: the strategy adds answers in one way; median and other rules have the choice."
)
MASKED = "its rule sees each client's row, and a mask vanishes only in a sum: take median_of_means, or one that sums."
NOISED = "its rule sees each client's row, and noise hides one only in a sum: take median_of_means, or one that sums."
FREE = "one client can move the sum of updates without limit: take pipeline=norm_bounding, or a rule such as median."
UNBOUNDED = "one client's influence has no bound: give pipeline.bound.clip a norm for every channel."


def pipelines(fact: Facts) -> Verdicts:
    """Try the pipelines of ``conf/pipeline``, and those that clip every channel."""
    return {name: _refused(fact, pipeline=transforms) for name, transforms in tried(fact).items()}


def tried(fact: Facts) -> dict[str, tuple[Transform, ...]]:
    """Return the pipelines that are tried on a strategy."""
    clip = Bound(clip=dict.fromkeys(fact.channels, 1.0))
    shipped = {file.name.removesuffix(".yaml"): _read(file.read_text(encoding="utf-8")) for file in _files("pipeline")}
    rounded = {f"{CLIPPED} + 16 bits": (clip, Quantise()), f"{CLIPPED} + 32 bits": (clip, Quantise(bits=32))}
    return shipped | {CLIPPED: (clip,)} | rounded


def adding(fact: Facts) -> Verdicts:
    """Try to add answers up as one sum, as sums of groups, and to keep them as rows."""
    if "groups" in fact.settings:
        return {kind: _refused(fact, groups=number) for kind, number in GROUPS.items()}
    return {kind: "" if kind == fact.adds else ONE_WAY for kind in GROUPS}


def tasks(fact: Facts) -> Verdicts:
    """Try tasks and local training that some strategies cannot do with."""
    return {name: _refused(fact, **changes) for name, changes in TASKS.items()}


def places(fact: Facts) -> Verdicts:
    """Say where it runs. The same code answers everywhere; a simulation refuses what it can only do otherwise."""
    return {
        "inline": "",
        "processes": "",
        "vectorised": _first(unbatched(plan) for plan in fact.plans),
        "ray": "",
        "serve": "",
        "SuperLink": "",
        "devices": "",
        "forging": _first(unattacked(name, end, True) for name, end in fact.endpoints().items()),
        "poisoning": _first(unattacked(name, end, False) for name, end in fact.endpoints().items()),
    }


def allowed(fact: Facts) -> Verdicts:
    """Say what the algebra allows to be done with its sums."""
    clipped = pipelines(fact)[f"{CLIPPED} + 16 bits"]
    ends = {name: end for name, end in fact.endpoints(tried(fact)[CLIPPED]).items() if not name.startswith("evaluate.")}
    return {
        "masks": apart(ends, MASKED) or clipped,
        "noise": apart(ends, NOISED) or unbounded(ends),
        "robust": free(ends),
        "asynchronous": unbuffered(fact.endpoints(), Asynchronous().decay),
    }


def apart(endpoints: Endpoints, why: str) -> str:
    """Return why, where rows are not hidden in a sum, or in sums of groups."""
    return why if any(end.aggregator.groups == 0 for end in endpoints.values()) else ""


def unbounded(endpoints: Endpoints) -> str:
    """Return why noise could not be calibrated, where every channel is clipped."""
    return "" if all(math.isfinite(end.pipeline.influence) for end in endpoints.values()) else UNBOUNDED


def free(endpoints: Endpoints) -> str:
    """Return why one client's update counts in full: no rule looks at it, and none of its own work bounds it."""
    held = (
        end.aggregator.groups != 1
        or all(math.isfinite(c.bound) for c in end.pipeline.row.channels if c.fades or c.name == "delta")
        for end in endpoints.values()
    )
    return "" if all(held) else FREE


TABLES: dict[str, Callable[[Facts], Verdicts]] = {
    "pipelines": pipelines,
    "adding": adding,
    "places": places,
    "tasks": tasks,
    "allowed": allowed,
}


@functools.cache
def composition(fact: Facts) -> Mapping[str, Verdicts]:
    """Return all tables of a strategy."""
    return {name: table(fact) for name, table in TABLES.items()}


def _refused(fact: Facts, **changes: Any) -> str:
    try:
        fact.endpoints(**changes)
    except CompositionError as refusal:
        return str(refusal)
    return ""


def _first(reasons: Iterable[str]) -> str:
    return next(filter(None, reasons), "")


def _files(group: str) -> list[Any]:
    found = files("hansa.conf").joinpath(group).iterdir()
    return sorted((file for file in found if file.name.endswith(".yaml")), key=lambda file: file.name)


def _read(text: str) -> tuple[Transform, ...]:
    return tuple(build(f"pipeline.{name}", part) for name, part in yaml.safe_load(text).items())
