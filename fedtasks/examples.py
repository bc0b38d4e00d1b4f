"""Examples of one client: anything with a length and an index, such as a map-style torch Dataset."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from torch import Tensor
from torch.utils.data import TensorDataset, default_collate

from hansa.strategies.types import Array


class Examples(Protocol):
    """Pairs of an input and a target: a map-style torch ``Dataset``, or a ``TensorDataset`` for data in memory."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Any: ...


def stack(examples: Examples) -> tuple[Tensor, Tensor]:
    """Return all inputs (N, ...) and all targets (N, ...) in memory."""
    if type(examples) is TensorDataset:
        inputs, targets = examples.tensors
    else:
        inputs, targets = default_collate([examples[i] for i in range(len(examples))])
    return inputs, targets


def targets(examples: Examples) -> Array:
    """Return all targets (N, ...): from the attribute ``targets`` where there is one, so that no input need be read."""
    if type(examples) is not TensorDataset and hasattr(examples, "targets"):
        return np.asarray(examples.targets)
    return stack(examples)[1].numpy() if len(examples) else np.empty(0)
