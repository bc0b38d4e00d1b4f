"""Label skew: every client has examples of so many classes and no more.

Li et al. 2022 (NIID-Bench, arXiv:2102.02079), "#C = k": each client is assigned k classes, and the examples of a class
are divided evenly among the clients that it was assigned to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from hansa.fedtasks.errors import OptionError
from hansa.fedtasks.partitions.partition import Partition, Pool, Rows, at_least
from hansa.strategies.types import Array

Mode = Literal["random", "deterministic", "first-deterministic"]


@dataclass(frozen=True, kw_only=True)
class Pathological(Partition):
    """So many classes a client (``PathologicalPartitioner`` of flwr-datasets).

    ``class_assignment_mode`` is random: drawn for each client; deterministic: client k has the classes k, k + 1, ...,
    counted around; first-deterministic: class k for certain, the others drawn. A class that nobody was assigned is not
    used.
    """

    num_classes_per_partition: int = 2
    class_assignment_mode: Mode = "random"

    def __post_init__(self) -> None:
        at_least("num_classes_per_partition", self.num_classes_per_partition, 1)

    def deal(self, pool: Pool, rng: np.random.Generator) -> Rows:
        labels_C, class_N = np.unique(pool.labels_N, return_inverse=True)
        if self.num_classes_per_partition > len(labels_C):
            raise OptionError(
                f"partition.num_classes_per_partition={self.num_classes_per_partition}: there are {len(labels_C)} "
                "classes: choose that many at most."
            )
        has_KC = self._assign(len(pool.clients), len(labels_C), rng)
        parts: list[list[Array]] = [[] for _ in pool.clients]
        for c, label in enumerate(labels_C):
            rows_n, owners = rng.permutation(np.flatnonzero(class_N == c)), np.flatnonzero(has_KC[:, c])
            if len(owners) > len(rows_n):
                raise OptionError(
                    f"partition: class {label} falls to {len(owners)} clients and has {len(rows_n)} examples: use "
                    "fewer clients or classes, or partition.class_assignment_mode=deterministic."
                )
            for k, part in zip(owners, np.array_split(rows_n, max(1, len(owners))), strict=False):
                parts[k].append(part)
        return Rows.of([np.concatenate(part) for part in parts])

    def _assign(self, clients: int, classes: int, rng: np.random.Generator) -> Array:
        """Return which client has which class, (K, C) of bool."""
        each, start_K1 = self.num_classes_per_partition, np.arange(clients)[:, None]
        if self.class_assignment_mode == "deterministic":
            places_Kn = (start_K1 + np.arange(each)) % classes
        else:
            score_KC = rng.random((clients, classes))
            if self.class_assignment_mode == "first-deterministic":
                np.put_along_axis(score_KC, start_K1 % classes, -1.0, axis=1)
            places_Kn = np.argsort(score_KC, axis=1)[:, :each]
        has_KC = np.zeros((clients, classes), bool)
        np.put_along_axis(has_KC, places_Kn, True, axis=1)
        return has_KC
