"""What a partition is: it deals examples out to clients, and may change what a client sees of them.

Shape suffixes: N examples, K clients, C classes, F features.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hansa.fedtasks.errors import OptionError, listed
from hansa.fedtasks.partition import position, stream
from hansa.strategies.types import Array


@dataclass(frozen=True, kw_only=True)
class Pool:
    """What is dealt out: each example's class, of any sortable type, and the source it is from, where that is known."""

    labels_N: Array
    clients: Sequence[str]
    ids_N: Array | None = None


class Partition(ABC):
    """A rule by which examples are dealt out. Its fields are its settings, ``partition.alpha=0.1`` among them."""

    @abstractmethod
    def deal(self, pool: Pool, rng: np.random.Generator) -> Rows:
        """Return the rows of each client, in the order of ``pool.clients``; raises OptionError."""

    def alter(self, inputs: Array, place: int, clients: int, rng: np.random.Generator) -> Array:
        """Return what the client at that place, of so many, sees of its inputs (n, ...)."""
        return inputs


@dataclass(frozen=True)
class Rows:
    """Rows of K clients, end to end: client k has those from ``bound_K1[k]`` to ``bound_K1[k + 1]``.

    >>> Rows.of([np.array([4, 2]), np.array([3])])[0].tolist()
    [4, 2]
    """

    order_N: Array
    bound_K1: Array

    @staticmethod
    def cut(order_N: Array, sizes_K: Array) -> Rows:
        """Give the first rows to the first client, and so on."""
        return Rows(order_N[: int(np.sum(sizes_K))], np.concatenate([[0], np.cumsum(sizes_K)]))

    @staticmethod
    def of(parts: Sequence[Array]) -> Rows:
        """Put the rows of each client together."""
        return Rows.cut(np.concatenate([*parts, np.empty(0, np.int64)]).astype(np.int64), np.array([*map(len, parts)]))

    def __len__(self) -> int:
        return len(self.bound_K1) - 1

    def __getitem__(self, place: int) -> Array:
        return self.order_N[self.bound_K1[place] : self.bound_K1[place + 1]]

    def __iter__(self) -> Iterator[Array]:
        return (self[place] for place in range(len(self)))

    @property
    def sizes_K(self) -> Array:
        return np.diff(self.bound_K1)


@dataclass(frozen=True, kw_only=True)
class Shares:
    """Who has which examples, once it is known: cheap to ask for one client."""

    partition: Partition
    clients: Sequence[str]
    dealt: Rows
    key: tuple[str | int, ...] = ()

    def rows(self, client: str) -> Array:
        """Return a client's rows; raises UnknownClient."""
        return self.dealt[position(client, self.clients)]

    def inputs(self, client: str, inputs: Array) -> Array:
        """Return a client's inputs (n, ...) as it sees them."""
        place = position(client, self.clients)
        return self.partition.alter(inputs, place, len(self.clients), stream(*self.key, "inputs", client))


def share_out(
    partition: Partition, labels_N: Array, clients: Sequence[str], *key: str | int, ids_N: Array | None = None
) -> Shares:
    """Deal examples out by the randomness of ``key``: the task's name, what for, and the number of the split.

    Raises OptionError where a client would have nothing.
    """
    if not 1 <= len(clients) <= len(labels_N):
        raise OptionError(
            f"{len(clients)} clients cannot each have one of {len(labels_N)} examples: "
            f"choose 1 to {len(labels_N)} by task.parts."
        )
    dealt = partition.deal(Pool(labels_N=labels_N, clients=clients, ids_N=ids_N), stream(*key))
    empty = [clients[int(place)] for place in np.flatnonzero(dealt.sizes_K == 0)]
    if empty:
        raise OptionError(
            f"partition: {len(empty)} of {len(clients)} clients have no example ({listed(empty)}): "
            "use fewer clients, or settings that spread the examples more evenly."
        )
    return Shares(partition=partition, clients=clients, dealt=dealt, key=key)


def at_least(name: str, value: float, least: float, *, above: bool = False) -> None:
    """Raise OptionError where a setting of a partition is below what it may be, or not ``above`` it."""
    if not (value > least if above else value >= least) or value == np.inf:
        raise OptionError(
            f"partition.{name}={value:g}: it is a number {'above' if above else 'of at least'} {least:g}."
        )


def even(examples: int, clients: int) -> Array:
    """Return sizes (K,) that differ by at most one, the larger ones first.

    >>> even(8, 3).tolist()
    [3, 3, 2]
    """
    return examples // clients + (np.arange(clients) < examples % clients)


def sized(examples: int, weights_K: Array) -> Array:
    """Return whole sizes (K,) that add up to ``examples`` in proportion to weights, by the largest remainders.

    >>> sized(10, np.array([1, 2, 3])).tolist()
    [2, 3, 5]
    """
    exact_K = examples * weights_K / weights_K.sum()
    sizes_K = np.floor(exact_K).astype(np.int64)
    rest_K = np.argsort(sizes_K - exact_K, kind="stable")[: examples - int(sizes_K.sum())]
    sizes_K[rest_K] += 1
    return np.asarray(sizes_K)
