"""The work of ../simulation.py as the other systems get it: 100 clients with MNIST images, of whom 20 train a round.

A client takes one pass in batches of 10 with plain SGD at 0.1, in float32, on one thread. Every script takes the words
MODEL SAMPLES ROUNDS: lr, 2nn or cnn of McMahan et al. 2017; the images a client has; the rounds to time. The four IDX
files lie in mnist/ of the folder that the environment variable HANSA_DATA names.
"""

from __future__ import annotations

import gzip
import itertools
import os
import sys
from pathlib import Path
from statistics import median

import numpy as np

CLIENTS, COHORT, BATCH, LR = 100, 20, 10, 0.1
SIDE = 28


def words() -> tuple[str, int, int]:
    """Return model, samples and rounds of the command line."""
    model, samples, rounds = [*sys.argv[1:4], "2nn", "60", "12"][:3] if len(sys.argv) > 3 else ("2nn", "60", "12")
    return model, int(samples), int(rounds)


def images_and_digits(samples: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return each client's images (N, 1, 28, 28) in [0, 1] and digits (N,)."""
    folder = Path(os.environ["HANSA_DATA"]) / "mnist"
    images = gzip.decompress((folder / "train-images-idx3-ubyte.gz").read_bytes())[16:]
    digits = gzip.decompress((folder / "train-labels-idx1-ubyte.gz").read_bytes())[8:]
    pixels = np.frombuffer(images, np.uint8).reshape(-1, 1, SIDE, SIDE)
    labels = np.frombuffer(digits, np.uint8).astype(np.int64)
    rows = np.random.default_rng(7).permutation(len(labels))[: CLIENTS * samples].reshape(CLIENTS, samples)
    return [((pixels[mine] / np.float32(255)).astype(np.float32), labels[mine]) for mine in rows]


def torch_model(name: str):
    """Return the model in PyTorch."""
    from torch import nn

    if name == "lr":
        return nn.Sequential(nn.Flatten(), nn.Linear(SIDE**2, 10))
    if name == "2nn":
        widths = (SIDE**2, 200, 200)
        hidden = [layer for i, o in itertools.pairwise(widths) for layer in (nn.Linear(i, o), nn.ReLU())]
        return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(200, 10))
    first = [nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
    second = [nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(3136, 512), nn.ReLU(), nn.Linear(512, 10))


def tell(who: str, stamps: list[float], told: tuple[str, int, int] | None = None) -> None:
    """Print one line of the work that is told; ``stamps`` are the start and the end of each round, in seconds."""
    model, samples, _ = told or words()
    seconds = [after - before for before, after in itertools.pairwise(stamps)]
    steady = COHORT / median(seconds[1:])
    print(
        f"{who}: model={model} samples={samples} first_round={seconds[0]:.2f}s steady={steady:.1f} clients/s",
        flush=True,
    )
