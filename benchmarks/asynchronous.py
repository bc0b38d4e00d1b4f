"""Who waits for the slowest: virtual time and bytes to an accuracy, in step and asynchronously.

    HANSA_DATA=/data python benchmarks/asynchronous.py

MNIST (2NN) over 100 phones by Dirichlet 0.5, 20 of them at work at any time, to 90 % of the test images; means of seeds
1 to 3, and the seconds of each. FedAvg waits for all of its cohort, or for the first 20 of 26; FedBuff moves after 10
answers, FedAsync after each. The coordinator evaluates after each round, after every second of FedBuff, and after every
twentieth of FedAsync. These figures depend on the seed, and on no machine; 2026-11-29:

    fedavg, waits for all    900 virtual seconds, 600 MB, 20 rounds; seconds of each seed: 1036, 848, 816
    fedavg, first 20 of 26   615 virtual seconds, 843 MB, 23 rounds; seconds of each seed: 650, 648, 546
    fedbuff, 10 answers      392 virtual seconds, 675 MB, 40 rounds; seconds of each seed: 369, 442, 367
    fedasync, each answer    524 virtual seconds, 912 MB, 540 rounds; seconds of each seed: 561, 565, 445
"""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
from statistics import fmean

import torch

from hansa.conf.compose import compose
from hansa.conf.simulate import prepare

WORDS = (
    "task=mnist partition=dirichlet partition.alpha=0.5 clients=100 devices=phones client.lr=0.1 client.epochs=1 "
    "cohort.size=20 evaluation.to=nobody"
)
WAYS = {
    "fedavg, waits for all": "strategy=fedavg rounds=60",
    "fedavg, first 20 of 26": "strategy=fedavg cohort.over=0.3 rounds=60",
    "fedbuff, 10 answers": "strategy=fedbuff cohort=asynchronous cohort.buffer=10 rounds=120 evaluation.every=2",
    "fedasync, each answer": "strategy=fedasync cohort=asynchronous cohort.buffer=1 rounds=1200 evaluation.every=20",
}
SEEDS = (1, 2, 3)
COUNTED = {"virtual seconds": "virtual_seconds_to_target", "MB": "bytes_to_target", "rounds": "rounds_to_target"}


def took(words: str) -> dict[str, float]:
    """Carry a run out; return what it took until 90 % of the test images were told right, infinite where it did not."""
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as out, contextlib.redirect_stderr(out):
        given = [*WORDS.split(), *words.split(), "target=server_accuracy: 0.9", f"run_dir={folder}/run"]
        with prepare(*compose(given)) as runner:
            runner.carry_out()
    found = {name: runner.summary[field] for name, field in COUNTED.items()}
    return {name: math.inf if value is None else value / (1e6 if name == "MB" else 1) for name, value in found.items()}


def main() -> None:
    torch.set_num_threads(1)
    for name, words in WAYS.items():
        runs = [took(f"{words} seed={seed}") for seed in SEEDS]
        told = ", ".join(f"{fmean(one[what] for one in runs):.0f} {what}" for what in COUNTED)
        each = ", ".join(f"{one['virtual seconds']:.0f}" for one in runs)
        print(f"{name:24} {told}; seconds of each seed: {each}", flush=True)


if __name__ == "__main__":
    main()
