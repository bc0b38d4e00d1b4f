"""Handwritten digits of 8 x 8 pixels, which come with scikit-learn: a task for trying things in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import TensorDataset

from hansa.fedtasks.errors import OptionError
from hansa.fedtasks.names import Numbered, names
from hansa.fedtasks.partition import check_parts, stratify, stream
from hansa.fedtasks.partitions import Iid, Partition, Shares, share_out
from hansa.fedtasks.task import Data, Task
from hansa.strategies.types import Array


@dataclass(frozen=True, kw_only=True)
class Digits(Task):
    """Which digit is it? 1,797 images as 64 numbers in [0, 1]; a network with one hidden layer of 32.

    The share ``test`` of each digit is kept for the coordinator to test on. All others are dealt out to ``parts``
    clients by the ``partition``, at random by the number ``split``.
    """

    parts: int = 10
    split: int = 0
    test: float = 0.2
    partition: Partition = Iid()

    def __post_init__(self) -> None:
        if not 0 < self.test < 1:
            raise OptionError(f"task.test={self.test}: the share that the coordinator tests on is between 0 and 1.")
        check_parts(self.parts, len(self._rows[0]))
        _ = self._shares  # the data is always here, so that a partition of it is refused before anything starts

    def clients(self) -> Numbered:
        return names(self.parts)

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))

    def data(self, client: str) -> Data:
        rows = self._rows[0][self._shares.rows(client)]
        images_NF, digit_N = self._images
        return Data(_examples(self._shares.inputs(client, images_NF[rows]), digit_N[rows]))

    def server_data(self) -> TensorDataset:
        images_NF, digit_N = self._images
        return _examples(images_NF[self._rows[1]], digit_N[self._rows[1]])

    @cached_property
    def _images(self) -> tuple[Array, Array]:
        images_NF, digit_N = load_digits(return_X_y=True)
        return (images_NF / 16).astype(np.float32), digit_N.astype(np.int64)

    @cached_property
    def _rows(self) -> tuple[Array, Array]:
        return stratify(self._images[1], self.test, stream("digits", "test", self.split))

    @cached_property
    def _shares(self) -> Shares:
        digit_N = self._images[1][self._rows[0]]
        return share_out(self.partition, digit_N, self.clients(), "digits", "clients", self.split)


def _examples(images_NF: Array, digit_N: Array) -> TensorDataset:
    return TensorDataset(torch.from_numpy(images_NF), torch.from_numpy(digit_N))
