"""Which examples each client of a block takes at each step, and the batches that come of it, clients in front.

Shape suffixes: B clients in the order of their steps, most first; S steps; b examples of a batch, padded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from hansa.fedclient.settings import Local
from hansa.strategies import Context
from hansa.strategies.pipeline import Names
from hansa.strategies.types import Array

AHEAD = 2**22
"""Bytes of inputs that are gathered at once."""


class Batch(NamedTuple):
    """What the first clients take at a step: inputs and targets (B, b, ...), and how many of b are no padding."""

    inputs: Tensor
    targets: Tensor
    sizes_B: Array


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """``order_B`` puts the clients with most steps first; rows and sizes are in this order.

    ``rows_BSb`` are 0 and ``sizes_BS`` smaller where a batch is not full, or a client has no more.
    """

    order_B: Array
    rows_BSb: Array
    sizes_BS: Array

    @classmethod
    def of(cls, counts: Sequence[int], settings: Local, names: Names, ctx: Context, purpose: str) -> Schedule:
        """Draw every client's batches by its own key, as the loop over clients does."""
        plans = [_plan(n, settings, ctx.learning(name, purpose)) for n, name in zip(counts, names, strict=True)]
        order_B = np.argsort([-len(plan_Sb) for plan_Sb in plans], kind="stable")
        steps, widest = (max(plan_Sb.shape[axis] for plan_Sb in plans) for axis in (0, 1))
        rows_BSb = np.full((len(names), steps, widest), -1)
        for place, client in enumerate(order_B):
            taken, size = plans[client].shape
            rows_BSb[place, :taken, :size] = plans[client]
        return cls(order_B=order_B, rows_BSb=np.maximum(rows_BSb, 0), sizes_BS=(rows_BSb >= 0).sum(2))

    def batches(self, examples_B: Sequence[TensorDataset]) -> Iterator[Batch]:
        """Gather the batches of these clients, which come in the order of their names."""
        tensors_B = [examples_B[client].tensors for client in self.order_B]
        steps, one = self.sizes_BS.shape[1], tensors_B[0][0][:1]
        ahead = max(1, AHEAD // max(1, self.rows_BSb[:, 0].size * one.nbytes))
        for start in range(0, steps, ahead):
            rows_BSb = self.rows_BSb[: self._active(start), start : start + ahead]
            inputs, targets = (_gathered(some, rows_BSb) for some in zip(*tensors_B[: len(rows_BSb)], strict=True))
            for step in range(rows_BSb.shape[1]):
                active = self._active(start + step)
                yield Batch(inputs[:active, step], targets[:active, step], self.sizes_BS[:active, start + step])

    def _active(self, step: int) -> int:
        """Return how many clients, from the first, take this step."""
        return int((self.sizes_BS[:, step] > 0).sum())


def _plan(count: int, settings: Local, rng: np.random.Generator) -> Array:
    """Return the rows (S, b) of a client's batches; -1 is none."""
    size = settings.batch_size or max(1, count)
    each = -(-count // size)
    passes = -(-settings.steps // max(1, each)) if settings.steps else settings.epochs
    rows_EN = np.full((passes if count else 0, each * size), -1)
    for order_N in rows_EN:
        order_N[:count] = rng.permutation(count)
    return rows_EN.reshape(-1, size)[: settings.steps or None]


def _gathered(tensors: Sequence[Tensor], rows_BSb: Array) -> Tensor:
    """Return (B, S, b, ...): each client's rows of its own tensor."""
    shape, flat = rows_BSb.shape, torch.from_numpy(rows_BSb).flatten(1)
    found = tensors[0].new_empty((*flat.shape, *tensors[0].shape[1:]))
    for tensor, rows, out in zip(tensors, flat, found, strict=True):
        torch.index_select(tensor, 0, rows, out=out)
    return found.view(*shape, *found.shape[2:])
