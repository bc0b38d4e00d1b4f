"""The tasks of learning.py and robustness.py: MNIST, of which each client keeps a share for testing, and BatchNorm."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import nn
from torch.utils.data import TensorDataset

from hansa.fedtasks import Data
from hansa.fedtasks.heart_disease import FEATURES, HeartDisease
from hansa.fedtasks.mnist import Mnist
from hansa.fedtasks.names import names
from hansa.fedtasks.partition import stratify, stream
from hansa.fedtasks.partitions import share_out
from hansa.fedtasks.standardise import Standardise

ROOT = "root"


@dataclass(frozen=True, kw_only=True)
class Kept(Mnist):
    """Each client keeps the share ``test`` of each of its classes for testing: personal models need it.

    With ``root`` above 0 there is one more client, of the name root, with so many of all training images: the clean
    data of the coordinator's own that FLTrust needs.
    """

    test: float = 1 / 6
    root: int = 0

    def clients(self):
        return (*names(self.parts), ROOT) if self.root else names(self.parts)

    def data(self, client):
        if self.root and client == ROOT:
            images, digits = self._train
            rows = self._draw(ROOT).choice(len(digits), self.root, replace=False)
            pixels = torch.from_numpy(images[rows][:, None].astype(np.float32) / 255)
            return Data(TensorDataset(pixels, torch.from_numpy(digits[rows].astype(np.int64))))
        whole = super().data(client).train.tensors
        train, test = stratify(whole[1].numpy(), self.test, self._draw(client))
        return Data(*(TensorDataset(*(part[rows] for part in whole)) for rows in (train, test)))

    def _draw(self, client):
        return stream("mnist", "kept", self.split, client)

    @cached_property
    def _shares(self):
        return share_out(self.partition, self._train[1], names(self.parts), "mnist", "clients", self.split)


class Normed(Kept):
    """The same with a 2NN that has BatchNorm, which FedBN keeps with each client."""

    def model(self):
        first = (nn.Flatten(), nn.Linear(784, 200), nn.BatchNorm1d(200), nn.ReLU())
        return nn.Sequential(*first, nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 10))


class NormedHearts(HeartDisease):
    """heart_disease with BatchNorm in its hidden layer."""

    def model(self):
        layers = {
            "standardise": Standardise(FEATURES),
            "hidden": nn.Linear(FEATURES, 16),
            "norm": nn.BatchNorm1d(16),
            "relu": nn.ReLU(),
            "logit": nn.Linear(16, 1),
        }
        return nn.Sequential(OrderedDict(layers))
