"""Many clients' local training as one tensor program: every tensor has the clients in front.

Shape suffixes: B clients in the order of their steps, most first; b examples of a batch, padded; S steps.

It takes the same steps as the loop over clients, in another order of floating-point sums: equal to rounding, not to the
bit. What cannot be put side by side is refused by name.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from hansa.fedclient.errors import stage
from hansa.fedclient.optimiser import Optimiser
from hansa.fedclient.tape import Tapes
from hansa.fedclient.torch_work import TorchWork
from hansa.simulations.errors import EngineError
from hansa.strategies import Context, Trained
from hansa.strategies.pipeline import Names
from hansa.strategies.types import Array

POOLED = 2**29
"""Bytes of examples that stay together in memory, from which batches are gathered."""
COUPLED = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd, nn.RNNBase)


@dataclass
class VectorisedWork(TorchWork):
    """A ``Trainer`` that trains a block of clients at once; all else is as in its base."""

    _inputs: Tensor | None = None
    _targets: Tensor | None = None
    _rows: dict[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check()
        self._names = [name for name, parameter in self.model.named_parameters() if parameter.requires_grad]
        one = torch.func.grad_and_value(self._loss)
        many = torch.func.vmap(one)

        def step(inputs: Tensor, targets: Tensor, weights: Tensor, *trained: Tensor) -> Sequence[Tensor | None]:
            gradients, losses_B = many(trained, inputs, targets, weights)
            return losses_B, *gradients

        self._block_step = Tapes(step, changing=3)

    def train(
        self, model_P: Array, private_BQ: Array, names: Names, ctx: Context, correction_BP: Array | None = None
    ) -> Trained:
        with stage("training"), torch.no_grad():
            return self._train_block(model_P, private_BQ, names, ctx, correction_BP)

    def _train_block(
        self, model_P: Array, private_BQ: Array, names: Names, ctx: Context, correction_BP: Array | None
    ) -> Trained:
        self._pool(names)
        self.model.train()
        schedule = Schedule.of(self, names, ctx)
        order_B = schedule.order_B
        stacked = self._stacked(model_P, private_BQ[order_B])
        starts = [tensor.clone() for tensor in stacked] if self.settings.proximal else []
        pushes = self._pushes(None if correction_BP is None else correction_BP[order_B])
        rate, loss_B = self.settings.rate(ctx.round), torch.zeros(len(names))
        optimiser = Optimiser(stacked, self.settings, rate)
        for step in range(schedule.steps):
            active = schedule.active(step)
            optimiser.narrow(active)
            inputs, targets, weights = schedule.batch(self, step, active)
            now = [tensor[:active] for tensor in stacked]
            results = self._block_step(inputs, targets, weights, *now)
            losses_B, gradients = cast(Tensor, results[0]), results[1:]
            self._nudge(gradients, now, pushes, starts)
            optimiser.step(gradients)
            loss_B[:active] += losses_B * torch.from_numpy(schedule.sizes_SB[step, :active])
        return self._trained_block(model_P, private_BQ, stacked, schedule, loss_B.numpy(), rate)

    def _loss(self, trained: Sequence[Tensor], inputs: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Return one client's loss of a batch, whose padding weighs nothing."""
        outputs = torch.func.functional_call(self.model, dict(zip(self._names, trained, strict=True)), (inputs,))
        each = torch.func.vmap(lambda output, target: self.task.loss(output[None], target[None]))(outputs, targets)
        return (each * weights).sum()

    def _stacked(self, model_P: Array, private_BQ: Array) -> list[Tensor]:
        """Return each trained tensor for all clients, (B, ...)."""
        many = len(private_BQ)
        shared, found = self.layout.unpack(model_P, "shared"), dict[str, Tensor]()
        for name, value in shared.items():
            found[name] = torch.from_numpy(np.array(value)).expand(many, *value.shape).clone()
        for name, parts in self._cut(private_BQ, "private").items():
            found[name] = torch.from_numpy(parts)
        return [found[name] for name in self._names]

    def _cut(self, vectors: Array, kind: str) -> dict[str, Array]:
        """Cut vectors (B, ...) into tensors with B in front."""
        found, at = {}, 0
        for entry in self.layout.entries:
            if entry.kind == kind:
                size = int(np.prod(entry.shape, dtype=np.int64))
                found[entry.name] = np.array(vectors[:, at : at + size]).reshape(len(vectors), *entry.shape)
                at += size
        return found

    def _pushes(self, correction_BP: Array | None) -> dict[str, Tensor]:
        cut = {} if correction_BP is None else self._cut(correction_BP, "shared")
        return {name: torch.from_numpy(value) for name, value in cut.items()}

    def _nudge(
        self,
        gradients: Sequence[Tensor | None],
        now: Sequence[Tensor],
        pushes: Mapping[str, Tensor],
        starts: Sequence[Tensor],
    ) -> None:
        """Add corrections and the pull to the start to the gradients of shared tensors, in place."""
        for place, (name, gradient) in enumerate(zip(self._names, gradients, strict=True)):
            if gradient is None or self._kind(name) != "shared":
                continue
            if name in pushes:
                gradient += pushes[name][: len(gradient)]
            if starts:
                gradient += self.settings.proximal * (now[place] - starts[place][: len(gradient)])

    def _trained_block(
        self,
        model_P: Array,
        private_BQ: Array,
        stacked: Sequence[Tensor],
        schedule: Schedule,
        loss_B: Array,
        rate: float,
    ) -> Trained:
        many = len(private_BQ)
        delta_BP, after_BQ = np.zeros((many, len(model_P)), np.float32), private_BQ.copy()
        there = dict(zip(self._names, stacked, strict=True))
        at = {"shared": 0, "private": 0}
        for entry in self.layout.entries:
            if (size := int(np.prod(entry.shape, dtype=np.int64))) and entry.kind in at:
                where = slice(at[entry.kind], at[entry.kind] + size)
                at[entry.kind] += size
                if entry.name in there:
                    value_BN = there[entry.name].reshape(many, size).numpy()
                    if entry.kind == "shared":
                        delta_BP[schedule.order_B, where] = value_BN - model_P[where]
                    else:
                        after_BQ[schedule.order_B, where] = value_BN
        back_B = np.argsort(schedule.order_B)
        seen_B = np.maximum(schedule.sizes_SB.sum(0), 1)
        return Trained(
            delta_BP=delta_BP,
            private_BQ=after_BQ,
            examples_B=schedule.examples_B.astype(np.float32),
            loss_B=(loss_B / seen_B)[back_B].astype(np.float32),
            travel_B=((schedule.sizes_SB > 0).sum(0) * rate)[back_B],
        )

    def _pool(self, names: Names) -> None:
        """Have all examples of these clients in two tensors."""
        fresh = [name for name in names if name not in self._rows]
        if self._inputs is not None and self._inputs.nbytes > POOLED:
            self._inputs, fresh = None, list(names)
        if not fresh:
            return
        if self._inputs is None:
            self._rows.clear()
        sets = [self._in_memory(name) for name in fresh]
        start = 0 if self._inputs is None else len(self._inputs)
        for name, examples in zip(fresh, sets, strict=True):
            self._rows[name] = np.arange(start, start + len(examples))
            start += len(examples)
        old = [] if self._inputs is None or self._targets is None else [(self._inputs, self._targets)]
        pairs = [*old, *(examples.tensors for examples in sets)]
        self._inputs = torch.cat([pair[0] for pair in pairs])
        self._targets = torch.cat([pair[1] for pair in pairs])

    def _in_memory(self, name: str) -> TensorDataset:
        examples = self.data(name).train
        if not isinstance(examples, TensorDataset):
            raise EngineError(
                f"federation=vectorised: the data of client {name!r} is a {type(examples).__name__}, which cannot be "
                "stacked: let data() return a TensorDataset, or choose federation=processes."
            )
        return examples

    def _check(self) -> None:
        why = None
        if self.task.train is not None:
            why = f"{type(self.task).__name__}.train() is a loop of its own"
        for name, module in self.model.named_modules():
            if isinstance(module, COUPLED):
                why = f"layer {name or 'model'!r} is a {type(module).__name__}"
        if self.settings.device != "cpu":
            why = f"client.device={self.settings.device}"
        if why:
            raise EngineError(f"federation=vectorised: {why}, which cannot be batched: choose federation=processes.")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Which examples of the pool each client takes at each step; ``order_B`` puts those with most steps first.

    ``rows_SBb`` are 0 and ``sizes_SB`` smaller where a batch is not full, or a client has no more.
    """

    order_B: Array
    rows_SBb: Array
    sizes_SB: Array
    examples_B: Array

    @classmethod
    def of(cls, work: VectorisedWork, names: Names, ctx: Context) -> Schedule:
        """Draw every client's batches by its own key, as the loop over clients does."""
        plans = [list(_batches(work, work._rows[name], ctx.learning(name, "batches"))) for name in names]
        steps_B = np.array([len(plan) for plan in plans])
        order_B = np.argsort(-steps_B, kind="stable")
        widest = max((len(rows) for plan in plans for rows in plan), default=1)
        rows_SBb = np.zeros((int(steps_B.max(initial=0)), len(names), widest), np.int64)
        sizes_SB = np.zeros(rows_SBb.shape[:2], np.int64)
        for place, client in enumerate(order_B):
            for step, rows in enumerate(plans[client]):
                rows_SBb[step, place, : len(rows)] = rows
                sizes_SB[step, place] = len(rows)
        examples_B = np.array([len(work._rows[name]) for name in names])
        return cls(order_B=order_B, rows_SBb=rows_SBb, sizes_SB=sizes_SB, examples_B=examples_B)

    @property
    def steps(self) -> int:
        return len(self.sizes_SB)

    def active(self, step: int) -> int:
        """Return how many clients, from the first, take this step."""
        return int((self.sizes_SB[step] > 0).sum())

    def batch(self, work: VectorisedWork, step: int, active: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return inputs and targets (B, b, ...) of a step and the examples' weights (B, b), which add up to 1."""
        assert work._inputs is not None and work._targets is not None
        rows_Bb, size_B1 = self.rows_SBb[step, :active], self.sizes_SB[step, :active, None]
        weights_Bb = (np.arange(rows_Bb.shape[1]) < size_B1) / size_B1
        where = torch.from_numpy(rows_Bb)
        return work._inputs[where], work._targets[where], torch.from_numpy(weights_Bb.astype(np.float32))


def _batches(work: VectorisedWork, rows_N: Array, rng: np.random.Generator) -> itertools.islice[Array]:
    settings, count = work.settings, len(rows_N)
    size = settings.batch_size or max(1, count)
    passes = itertools.count() if settings.steps and count else range(settings.epochs if count else 0)
    orders = (rng.permutation(count) for _ in passes)
    batches = (rows_N[order[start : start + size]] for order in orders for start in range(0, count, size))
    return itertools.islice(batches, settings.steps or None)
