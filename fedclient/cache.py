"""The data of the clients that were asked last, up to a size."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from torch.utils.data import TensorDataset

from hansa.fedtasks import Data, Examples

LEAST = 4096
"""Bytes that a client counts for at least: a data set that reads its examples when they are asked for is small."""


@dataclass
class Cache:
    """Reads a client's data by ``read``, and keeps the last ones, of ``limit`` bytes together."""

    read: Callable[[str], Data]
    limit: int
    _kept: OrderedDict[str, tuple[Data, int]] = field(default_factory=OrderedDict)
    _bytes: int = 0

    def __call__(self, client: str) -> Data:
        if client in self._kept:
            self._kept.move_to_end(client)
            return self._kept[client][0]
        data = self.read(client)
        size = LEAST + _size(data.train) + _size(data.test)
        self._kept[client] = data, size
        self._bytes += size
        while self._bytes > self.limit and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1][1]
        return data


def _size(examples: Examples | None) -> int:
    return sum(part.nbytes for part in examples.tensors) if isinstance(examples, TensorDataset) else 0
