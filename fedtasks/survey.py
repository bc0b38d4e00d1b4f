"""Who has what: how many training examples each client of a simulation has, and of which labels.

Shape suffixes: K clients, C labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hansa.fedtasks.errors import OptionError
from hansa.fedtasks.examples import targets
from hansa.fedtasks.task import Task
from hansa.strategies.types import Array

MOST_LABELS = 1000
"""Whole numbers with more values than this are amounts, not labels."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """Sizes and labels of the ``clients`` that were looked at, among ``population`` of them.

    ``labels_C`` is empty, and ``counts_KC`` of shape (K, 0), where targets are not labels.
    """

    clients: Sequence[str]
    population: int
    sizes_K: Array
    labels_C: Array
    counts_KC: Array

    @property
    def imbalance(self) -> float:
        """The mean over clients of the total-variation distance between a client's labels and those of all:
        sum_c |p_kc - p_c| / 2, from 0 where all are alike, towards 1 where nobody has another's labels."""
        counts_KC = self.counts_KC[self.sizes_K > 0]
        share_KC = counts_KC / counts_KC.sum(1, keepdims=True)
        whole_C = counts_KC.sum(0) / counts_KC.sum()
        return float(np.abs(share_KC - whole_C).sum(1).mean() / 2)

    def lines(self) -> Iterator[str]:
        """Say it in words, a line a fact."""
        seen = f"{len(self.clients):,} of {self.population:,}" if len(self.clients) < self.population else ""
        yield f"clients    {seen or f'{self.population:,}'}"
        yield f"examples   {int(self.sizes_K.sum()):,}; a client has {spread(self.sizes_K)}"
        if len(self.labels_C):
            yield f"labels     {len(self.labels_C):,}; a client has {spread((self.counts_KC > 0).sum(1))}"
            yield f"imbalance  {self.imbalance:.3f} (0: all have the same mix of labels; 1: nobody has another's)"


def spread(number_K: Array) -> str:
    """Write the least, the median and the largest of whole numbers.

    >>> spread(np.array([3, 1000, 20]))
    '3 to 1,000, median 20'
    """
    return f"{number_K.min():,} to {number_K.max():,}, median {np.median(number_K):,g}"


def survey(task: Task, most: int) -> Survey:
    """Read the training data of all clients, or of ``most`` spread evenly over their names where there are more."""
    known = task.clients()
    if most < 1:
        raise OptionError(f"most={most}: look at one client at least.")
    places = np.unique(np.linspace(0, len(known) - 1, min(most, len(known))).round().astype(int))
    clients = [known[int(place)] for place in places]
    found = [targets(task.data(client).train) for client in clients]
    sizes_K = np.array([len(target_n) for target_n in found])
    labels_C, counts_KC = _labels(found)
    return Survey(clients=clients, population=len(known), sizes_K=sizes_K, labels_C=labels_C, counts_KC=counts_KC)


def _labels(found: Sequence[Array]) -> tuple[Array, Array]:
    """Return the labels and how many of each a client has; none where targets are not labels."""
    none = np.empty(0, np.int64), np.zeros((len(found), 0), np.int64)
    if not all(_whole(target_n) for target_n in found):
        return none
    parts = [np.unique(target_n, return_counts=True) for target_n in found]
    labels_C = np.unique(np.concatenate([labels for labels, _ in parts]))
    if len(labels_C) > MOST_LABELS:
        return none
    counts_KC = np.zeros((len(found), len(labels_C)), np.int64)
    for k, (labels, counts) in enumerate(parts):
        counts_KC[k, np.searchsorted(labels_C, labels)] = counts
    return labels_C.astype(np.int64), counts_KC


def _whole(target_n: Array) -> bool:
    return target_n.ndim == 1 and bool(np.all(target_n == np.round(target_n)))
