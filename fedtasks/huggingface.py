"""Pictures or tables of the Hugging Face hub, to be classified, as flwr-datasets reads them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from torch import nn
from torch.utils.data import TensorDataset

from hansa.fedtasks.errors import OptionError
from hansa.fedtasks.hub import Table, demand_library, read_splits
from hansa.fedtasks.names import Numbered, names
from hansa.fedtasks.partitions import Iid, Natural, Partition, Shares, share_out
from hansa.fedtasks.task import Data, Task
from hansa.strategies.types import Array


@dataclass(frozen=True, kw_only=True)
class HuggingFace(Task):
    """Which class is it? Examples are pictures of one size, arrays of one shape, or rows of numbers.

    ``dataset`` is a name on the hub, or a folder that ``save_to_disk`` of Hugging Face's library has written;
    ``subset`` is its configuration. The clients share the split ``train_split``, dealt out to ``parts`` of them by the
    ``partition`` of the column ``label``; with ``partition=natural`` and empty ``parts`` each source is a client. The
    coordinator tests on ``test_split``. ``input`` names the column of pictures or arrays, or those of numbers, with
    commas in between; empty: the one column of pictures, else all of numbers. ``net`` is cnn, mlp (two hidden layers of
    200), or auto: cnn for pictures. The model's size follows from the examples, so that every place must have them.
    """

    dataset: str = ""
    subset: str | None = None
    input: str | None = None
    label: str = "label"
    train_split: str = "train"
    test_split: str | None = "test"
    net: str = "auto"
    parts: int | None = 10
    split: int = 0
    partition: Partition = Iid()

    site: ClassVar[tuple[str, ...]] = ("dataset",)

    def __post_init__(self) -> None:
        if not self.dataset:
            raise OptionError("task.dataset is empty: name a data set of the hub, such as ylecun/mnist, or a folder.")
        if self.net not in ("auto", "cnn", "mlp"):
            raise OptionError(f"task.net={self.net!r}: for huggingface it is auto, cnn or mlp.")
        if self.parts is None and not isinstance(self.partition, Natural):
            raise OptionError("task.parts is empty: give the number of clients, or choose partition=natural.")
        if isinstance(self.partition, Natural) and self.partition.partition_by is None:
            raise OptionError("partition.partition_by is empty: name the column of the examples' sources.")
        demand_library()

    def clients(self) -> Numbered:
        return names(len(np.unique(np.asarray(self._ids_N))) if self.parts is None else self.parts)

    def model(self) -> nn.Module:
        shape, classes = self._inputs(self.train_split, np.arange(1)).shape[1:], len(self._classes)
        net = self.net if self.net != "auto" else "cnn" if len(shape) == 3 else "mlp"
        if net == "mlp":
            return mlp(int(np.prod(shape)), classes)
        if len(shape) != 3 or min(shape[1:]) < 4:
            raise OptionError(f"task.net=cnn: inputs of shape {shape} are no pictures of 4 x 4 or more: use net=mlp.")
        return cnn(shape, classes)

    def data(self, client: str) -> Data:
        rows = self._shares.rows(client)
        seen = self._shares.inputs(client, self._inputs(self.train_split, rows))
        return Data(_examples(seen, self._classes_of(self.train_split)[rows]))

    def server_data(self) -> TensorDataset | None:
        if self.test_split is None:
            return None
        class_N = self._classes_of(self.test_split)
        return _examples(self._inputs(self.test_split, np.arange(len(class_N))), class_N)

    @cached_property
    def _tables(self) -> dict[str, Table]:
        wanted = [self.train_split, *([] if self.test_split is None else [self.test_split])]
        return read_splits(self.dataset, self.subset, wanted)

    @cached_property
    def _classes(self) -> Array:
        """Return the labels of all splits, sorted."""
        return np.unique(np.concatenate([table.labels(self.label) for table in self._tables.values()]))

    @cached_property
    def _ids_N(self) -> Array | None:
        by = self.partition.partition_by if isinstance(self.partition, Natural) else None
        return None if by is None else self._tables[self.train_split].column(by)

    @cached_property
    def _shares(self) -> Shares:
        key = ("huggingface", "clients", self.split)
        return share_out(self.partition, self._classes_of(self.train_split), self.clients(), *key, ids_N=self._ids_N)

    @cached_property
    def _columns(self) -> list[str]:
        table = self._tables[self.train_split]
        if self.input is None:
            return table.guess((self.label, getattr(self.partition, "partition_by", None)))
        for name in self.input.split(","):
            table.check(name)
        return self.input.split(",")

    def _classes_of(self, split: str) -> Array:
        """Return each example's class, (N,) of int64: its label's place among the labels."""
        return np.searchsorted(self._classes, self._tables[split].labels(self.label))

    def _inputs(self, split: str, rows: Array) -> Array:
        return self._tables[split].inputs(self._columns, rows)


def mlp(features: int, classes: int) -> nn.Module:
    """Return a network with two hidden layers of 200."""
    hidden = (nn.Linear(features, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU())
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(200, classes))


def cnn(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return two convolutions and a hidden layer of 128, for pictures of a shape (C, H, W)."""
    channels, height, width = shape
    first = (nn.Conv2d(channels, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2))
    second = (nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2))
    last = (nn.Linear(64 * (height // 4) * (width // 4), 128), nn.ReLU(), nn.Linear(128, classes))
    return nn.Sequential(*first, *second, nn.Flatten(), *last)


def _examples(inputs: Array, class_N: Array) -> TensorDataset:
    return TensorDataset(torch.from_numpy(inputs), torch.from_numpy(class_N))
