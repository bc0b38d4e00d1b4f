"""What a round of a simulation costs, in seconds and memory, over the cohort and over the population.

    python benchmarks/simulation_scale.py                          # three minutes; the table
    python benchmarks/simulation_scale.py --picture scale.svg      # and the picture

The work is that of scale_task.py, two passes in batches of 32; the cohort is drawn anew each round and evaluates too.
Seconds are the median round after the first, memory the peak of the largest process.

On 2 cores of an AMD EPYC, 2026-11-29, docs/pictures/scale.svg:

    cohort    100 of 1,000,000   0.039 s a round   241 MB      1,000 of      1,000   0.254 s a round   239 MB
              250                0.094             247         1,000 of     10,000   0.340             323
              500                0.192             307         1,000 of    100,000   0.373             385
            1,000                0.368             395         1,000 of  1,000,000   0.361             397
            2,000                0.721             562         1,000 of 10,000,000   0.367             375
            4,000                1.474             720

0.367 ms a client + 2 ms a round, and never off that line by more than 1.0 % of it: linear in the cohort, flat in the
population. Where all 1,000 clients come again each round, their data is still in memory. Memory is that of data which
was used once, of up to half a GiB a worker (``CACHED`` in fedclient/torch_work.py), beside 240 MB for PyTorch.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import linear_regression, median
from typing import NamedTuple

from hansa.fedserver.axes import HEIGHT, Curve, Point, document, panel

HERE = Path(__file__).parent
COHORTS = (100, 250, 500, 1000, 2000, 4000)
POPULATIONS = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
LARGE, COHORT, ROUNDS = 1_000_000, 1000, 12


class Cost(NamedTuple):
    """What a round took: seconds and MB."""

    seconds: float
    memory: float


def cost(population: int, cohort: int) -> Cost:
    """Run a simulation in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        words = [f"clients={population}", f"cohort.size={cohort}", f"rounds={ROUNDS}", f"run_dir={folder}/run"]
        words += [f"task={HERE / 'scale_task.py'}:Even", "evaluation.to=cohort", f"cohort.max={max(COHORTS)}"]
        words += ["client.epochs=2", "client.batch_size=32", "federation=processes"]
        command = [sys.executable, "-c", "from hansa.conf.main import main; main()", "simulate", *words]
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, used = os.wait4(running.pid, 0)
        if status:
            sys.exit(f"simulation_scale.py: hansa simulate {' '.join(words)} failed.")
        rounds = [json.loads(line) for line in Path(folder, "run", "metrics.jsonl").read_text().splitlines()]
    return Cost(median(one["seconds"] for one in rounds[1:]), used.ru_maxrss / 1024)


def fit(costs: dict[int, Cost]) -> str:
    """Say how far from a straight line seconds over the cohort are."""
    slope, start = linear_regression(list(costs), [one.seconds for one in costs.values()])
    off = max(abs(one.seconds - start - slope * cohort) / (slope * max(costs)) for cohort, one in costs.items())
    return f"{1e3 * slope:.3f} ms a client + {1e3 * start:.0f} ms a round; off the line by {off:.1%} of it at most"


def draw(cohorts: dict[int, Cost], populations: dict[int, Cost]) -> str:
    """Draw seconds and memory, over the cohort and over the logarithm of the population."""

    def curves(costs: dict[int, Cost], which: int, at: Sequence[float]) -> list[Curve]:
        points = [Point(x, *[one[which]] * 3) for x, one in zip(at, costs.values(), strict=True)]
        return [Curve(points=points), Curve(points=[Point(at[0], 0, 0, 0)], colour="none")]  # the axis begins at 0

    grown = [math.log10(population) for population in populations]
    panels = []
    for i, (name, unit) in enumerate((("seconds a round", 0), ("peak memory, MB", 1))):
        panels.append(panel(i, name, curves(cohorts, unit, list(cohorts)), note="cohort", along=_clients))
        panels.append(panel(2 + i, name, curves(populations, unit, grown), note="population (log)", along=_tens))
    return document("what a round costs", 2 * HEIGHT, "".join(panels))


def _clients(first: float, last: float) -> tuple[str, str]:
    return f"{first:,.0f}", f"{last:,.0f} clients of {LARGE:,}"


def _tens(first: float, last: float) -> tuple[str, str]:
    return f"{10**first:,.0f}", f"{10**last:,.0f} clients, {COHORT:,} a round"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--picture", type=Path, help="where to draw it, an SVG file")
    given = parser.parse_args()
    cohorts, populations = dict[int, Cost](), dict[int, Cost]()
    for cohort in COHORTS:
        cohorts[cohort] = cost(LARGE, cohort)
        print(
            f"cohort {cohort:5,} of {LARGE:,}: {cohorts[cohort].seconds:.3f} s a round, {cohorts[cohort].memory:.0f} MB"
        )
    print(f"  {fit(cohorts)}")
    for population in POPULATIONS:
        populations[population] = found = cost(population, COHORT)
        print(f"cohort {COHORT:,} of {population:10,}: {found.seconds:.3f} s a round, {found.memory:.0f} MB")
    if given.picture:
        given.picture.write_text(draw(cohorts, populations))


if __name__ == "__main__":
    main()
