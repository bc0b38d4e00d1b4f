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
from hansa.fedtasks.partition import check_parts, names, position, share, stratify, stream
from hansa.fedtasks.task import Data, Task
from hansa.strategies.types import Array


@dataclass(frozen=True, kw_only=True)
class Digits(Task):
    """Which digit is it? 1,797 images as 64 numbers in [0, 1]; a network with one hidden layer of 32.

    The share ``test`` of each digit is kept for the coordinator to test on. All others are dealt out at random, by the
    number ``split``, in ``parts`` even parts, one a client.
    """

    parts: int = 10
    split: int = 0
    test: float = 0.2

    def __post_init__(self) -> None:
        if not 0 < self.test < 1:
            raise OptionError(f"task.test={self.test}: the share that the coordinator tests on is between 0 and 1.")
        check_parts(self.parts, len(self._train))

    def clients(self) -> tuple[str, ...]:
        return names(self.parts)

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))

    def data(self, client: str) -> Data:
        return Data(self._examples(share(position(client, self.clients()), self.parts, self._train)))

    def server_data(self) -> TensorDataset:
        return self._examples(self._rows[1])

    @cached_property
    def _images(self) -> tuple[Array, Array]:
        images_NF, digit_N = load_digits(return_X_y=True)
        return (images_NF / 16).astype(np.float32), digit_N.astype(np.int64)

    @cached_property
    def _rows(self) -> tuple[Array, Array]:
        return stratify(self._images[1], self.test, stream("digits", "test", self.split))

    @cached_property
    def _train(self) -> Array:
        return stream("digits", "clients", self.split).permutation(self._rows[0])

    def _examples(self, rows: Array) -> TensorDataset:
        images_NF, digit_N = self._images
        return TensorDataset(torch.from_numpy(images_NF[rows]), torch.from_numpy(digit_N[rows]))
