"""Cells of Tables 1 and 2 of McMahan et al. 2017 (arXiv:1602.05629): rounds until a test accuracy on MNIST.

    HANSA_DATA=/data python benchmarks/mcmahan2017.py            # three cells
    HANSA_DATA=/data python benchmarks/mcmahan2017.py --long     # and the CNN on shards

100 clients of 600 images, C = 0.1, batches of 10. As in the paper, the curve of test accuracy is made monotone (the
best until then), the round at which it crosses the target is interpolated between its neighbours, and the learning rate
is the best of a small grid. On 2 cores of an AMD EPYC, 2026-11-29:

| cell | target | paper | ours | seed | minutes |
|---|---|---|---|---|---|
| 2NN, E=1, IID | 97% | 87 | 41 (lr 0.2; 51.6 at 0.1, 41.5 at 0.4) | 1 | 0.3 |
| 2NN, E=1, two shards | 97% | 664 | 186 (lr 0.2; 253.6 at 0.1, not within 187 at 0.4) | 1 | 1.3 |
| CNN, E=5, IID | 99% | 18 | 18.5 (lr 0.2; 28.5 at 0.1, not within 40 at 0.05) | 1 | 17 |

The CNN's minutes are those of its two rates above; its best rate is the largest that was tried. --long was not run.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise

import torch

from hansa.conf.compose import compose
from hansa.conf.simulate import prepare

SEED = 1


@dataclass(frozen=True)
class Cell:
    """One cell: what is trained until which accuracy, the paper's rounds, learning rates, and rounds at most."""

    name: str
    net: str
    epochs: int
    partition: str
    target: float
    paper: int
    rates: tuple[float, ...]
    most: int


CELLS = (
    Cell("2NN, E=1, IID", "2nn", 1, "iid", 0.97, 87, (0.1, 0.2, 0.4), 200),
    Cell("2NN, E=1, two shards", "2nn", 1, "shards", 0.97, 664, (0.1, 0.2, 0.4), 1200),
    Cell("CNN, E=5, IID", "cnn", 5, "iid", 0.99, 18, (0.2, 0.1, 0.05), 40),
)
LONG = Cell("CNN, E=5, two shards", "cnn", 5, "shards", 0.99, 206, (0.2, 0.1, 0.05), 400)


def crossed(accuracies: list[float], target: float) -> float | None:
    """Return the round, from 1, at which the best accuracy until then crosses a target, between two rounds."""
    best = [max(accuracies[: i + 1]) for i in range(len(accuracies))]
    if best and best[0] >= target:
        return 1.0
    for number, (before, after) in enumerate(pairwise(best), start=1):
        if after >= target:
            return number + (target - before) / (after - before)
    return None


def rounds(cell: Cell, rate: float, most: int) -> float | None:
    """Train until the target, and return the round that reached it."""
    words = [
        f"task=mnist task.net={cell.net} clients=100 cohort.size=10 client.batch_size=10 partition={cell.partition}"
    ]
    words += [f"client.epochs={cell.epochs} client.lr={rate} rounds={most} seed={SEED} evaluation.to=cohort"]
    accuracies: list[float] = []
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        runner = stack.enter_context(prepare(*compose(" ".join([*words, f"run_dir={folder}/run"]).split())))
        for record in runner.coordinator.rounds():
            if (accuracy := record.metrics.get("server_accuracy")) is not None:
                accuracies.append(accuracy)
            if accuracies and accuracies[-1] >= cell.target:
                break
    return crossed(accuracies, cell.target)


def measure(cell: Cell) -> str:
    """Search the rate; a rate need not run longer than the best one did."""
    start, best, at = time.monotonic(), None, 0.0
    for rate in cell.rates:
        found = rounds(cell, rate, cell.most if best is None else int(best) + 1)
        print(f"  {cell.name}, lr {rate}: {'not reached' if found is None else f'{found:.1f} rounds'}", flush=True)
        if found is not None and (best is None or found < best):
            best, at = found, rate
    ours = "not reached" if best is None else f"{best:.0f} (lr {at})"
    minutes = (time.monotonic() - start) / 60
    return f"| {cell.name} | {cell.target:.0%} | {cell.paper} | {ours} | {SEED} | {minutes:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--long", action="store_true", help="also the CNN on shards")
    parser.add_argument("--cell", help="only the cells whose name has this in it")
    given = parser.parse_args()
    if "HANSA_DATA" not in os.environ:
        sys.exit("mcmahan2017.py: set HANSA_DATA to the folder that has mnist/ with the four IDX files.")
    torch.set_num_threads(1)
    rows = [measure(c) for c in (*CELLS, *[LONG] * given.long) if not given.cell or given.cell in c.name]
    print("| cell | target | paper | ours | seed | minutes |\n|---|---|---|---|---|---|", *rows, sep="\n")


if __name__ == "__main__":
    main()
