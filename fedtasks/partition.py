"""Who has which examples: keyed, so that a split is the same on every machine and in every order of asking."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hansa.fedtasks.errors import OptionError, UnknownClient
from hansa.strategies.keys import derive
from hansa.strategies.types import Array


def stream(*key: str | int) -> np.random.Generator:
    """Return the randomness of a key: what it is for, the number of the split, the client's name."""
    return np.random.Generator(np.random.Philox(key=int.from_bytes(derive(b"hansa partition", *key)[:16], "little")))


def position(client: str, known: Sequence[str]) -> int:
    """Return a client's place among the names; raises UnknownClient."""
    try:
        return known.index(client)
    except ValueError:
        raise UnknownClient(client, known) from None


def check_parts(parts: int, examples: int) -> None:
    """Raise OptionError where examples cannot be dealt out to so many clients."""
    if not 1 <= parts <= examples:
        raise OptionError(
            f"task.parts={parts}: that many clients cannot each have one of {examples} examples: "
            f"choose 1 to {examples}."
        )


def stratify(class_N: Array, test: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Draw the same share of every class for the test set; return train and test indices, each sorted.

    A class gives the nearest whole number of its examples, and keeps at least one for training.
    """
    drawn = []
    for label in np.unique(class_N):
        where = rng.permutation(np.flatnonzero(class_N == label))
        drawn.append(where[: min(int(test * len(where) + 0.5), len(where) - 1)])
    is_test_N = np.isin(np.arange(len(class_N)), np.concatenate(drawn))
    return np.flatnonzero(~is_test_N), np.flatnonzero(is_test_N)
