"""What the runs of a sweep say together: a row for each combination of settings, over its seeds.

With x_1 ... x_n the values of the n seeds that finished,

    mean = sum x_i / n        std = sqrt(sum (x_i - mean)^2 / (n - 1))

and a single seed has no std.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

SEED = "seed"
SOME = (
    *("virtual_seconds", "joules"),
    *("rounds_to_target", "seconds_to_target", "bytes_to_target", "virtual_seconds_to_target"),
)
"""What only some runs tell."""
KINDS = ("mean", "std", "count")
Settings = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class SweptRun:
    """One run: the swept settings, what it ended with, and its metrics by round.

    ``stopped`` is ``finished``, ``interrupted`` or the error; ``summary`` is empty where the run did not begin.
    """

    number: int
    settings: Settings
    directory: str
    stopped: str
    summary: Mapping[str, Any] = field(default_factory=dict)
    series: Mapping[str, Sequence[tuple[int, float]]] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        return self.stopped == "finished"

    @property
    def failed(self) -> bool:
        return self.stopped not in ("finished", "interrupted")

    def values(self) -> dict[str, float | None]:
        """Return the final metrics and what the run took; None where a value is no finite number."""
        told = self.summary
        found = {**told["metrics"], "rounds": told["rounds"], "seconds": told["seconds"]}
        found["bytes"] = told["bytes_up"] + told["bytes_down"]
        found |= {name: told[name] for name in SOME if name in told}
        return {name: _finite(value) for name, value in found.items()}


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Mean and standard deviation over the ``count`` seeds that have the value."""

    mean: float
    std: float | None
    count: int


@dataclass(frozen=True, kw_only=True)
class Row:
    """A combination: its settings but the seed, the runs that finished, and how many were to be made."""

    settings: Settings
    finished: Sequence[SweptRun]
    planned: int

    @property
    def label(self) -> str:
        return label(self.settings) or "all runs"

    def spreads(self) -> dict[str, Spread]:
        """Return the spread of every value that at least one seed has."""
        found: dict[str, list[float]] = {}
        for run in self.finished:
            for name, value in run.values().items():
                if value is not None:
                    found.setdefault(name, []).append(value)
        return {name: spread(values) for name, values in found.items()}


def label(settings: Settings) -> str:
    """Write settings as on a command line.

    >>> label({"strategy": "scaffold", "seed": "1"})
    'strategy=scaffold seed=1'
    """
    return " ".join(f"{name}={value}" for name, value in settings.items())


def spread(values: Sequence[float]) -> Spread:
    """Return mean and standard deviation of at least one value."""
    mean, count = fmean(values), len(values)
    std = math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1)) if count > 1 else None
    return Spread(mean=mean, std=std, count=count)


def rows(plan: Iterable[Settings], runs: Sequence[SweptRun]) -> list[Row]:
    """Return a row for each planned combination, in the order of the plan."""
    planned: dict[tuple[tuple[str, str], ...], int] = {}
    for settings in plan:
        planned[_combination(settings)] = planned.get(_combination(settings), 0) + 1
    return [
        Row(
            settings=dict(key),
            finished=[run for run in runs if run.finished and _combination(run.settings) == key],
            planned=count,
        )
        for key, count in planned.items()
    ]


def columns(table: Sequence[Row]) -> list[str]:
    """Return the names of all values: metrics by name, then what the runs took."""
    took = ["rounds", "seconds", "bytes", *SOME]
    names = {name for row in table for run in row.finished for name in run.values()}
    return [*sorted(names - set(took)), *(name for name in took if name in names)]


def as_csv(table: Sequence[Row]) -> str:
    """Write the table as CSV: swept settings, seeds, and of each value mean, standard deviation and count of seeds."""
    names, settings = columns(table), list(table[0].settings)
    out = io.StringIO()
    lines = csv.writer(out, lineterminator="\n")
    lines.writerow([*settings, "seeds", "seeds_finished", *(f"{name}_{kind}" for name in names for kind in KINDS)])
    for row in table:
        spreads = row.spreads()
        found = [getattr(spreads.get(name), kind, None) for name in names for kind in KINDS]
        lines.writerow([*row.settings.values(), row.planned, len(row.finished), *found])
    return out.getvalue()


def as_json(table: Sequence[Row], runs: Sequence[SweptRun]) -> str:
    """Write the table and the runs as JSON."""
    told = {
        "combinations": [
            {
                "settings": dict(row.settings),
                "seeds": row.planned,
                "seeds_finished": len(row.finished),
                "values": {name: vars(one) for name, one in sorted(row.spreads().items())},
            }
            for row in table
        ],
        "runs": [
            {
                "number": run.number,
                "settings": dict(run.settings),
                "directory": run.directory,
                "stopped": run.stopped,
                "model_sha256": run.summary.get("model_sha256"),
            }
            for run in runs
        ],
    }
    return json.dumps(told, indent=2) + "\n"


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _combination(settings: Settings) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in settings.items() if name != SEED)
