"""Many clients' local training as one tensor program: every tensor has the clients in front.

Shape suffixes: B clients in the order of their steps, most first; b examples of a batch, padded.

It takes the same steps as the loop over clients, in another order of floating-point sums: equal to rounding, not to the
bit. What cannot be put side by side is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from hansa.fedclient.errors import stage
from hansa.fedclient.nudge import Nudge, followed
from hansa.fedclient.optimiser import Optimiser
from hansa.fedclient.tape import Tapes
from hansa.fedclient.torch_work import TorchWork
from hansa.simulations.errors import EngineError
from hansa.simulations.refusals import unbatched
from hansa.simulations.schedule import Batch, Schedule
from hansa.strategies import Context, Plan, Trained
from hansa.strategies.pipeline import Names
from hansa.strategies.types import Array
from hansa.strategies.work import PLAIN

COUPLED = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd, nn.RNNBase)


@dataclass
class VectorisedWork(TorchWork):
    """A ``Trainer`` that trains a block of clients at once; all else is as in its base."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check()
        self._full, self._padded = self._tapes(self._mean, 2), self._tapes(self._weighted, 3)

    def train(self, model: Array, private_BQ: Array, names: Names, ctx: Context, plan: Plan = PLAIN) -> Trained:
        if why := unbatched(plan):
            raise EngineError(why)
        with stage("training"), torch.no_grad():
            return self._train_block(model, private_BQ, names, ctx, plan)

    def _train_block(self, model: Array, private_BQ: Array, names: Names, ctx: Context, plan: Plan) -> Trained:
        examples = [self._in_memory(name) for name in names]
        counts, local = [len(some) for some in examples], followed(self.settings, plan)
        schedule = Schedule.of(counts, local, names, ctx, plan.purpose("batches"))
        order_B = schedule.order_B
        self.model.train()
        model_BP = np.broadcast_to(model, (len(names), model.shape[-1]))
        stacked = self._stacked(model_BP[order_B], private_BQ[order_B])

        def cut(vector: Array) -> dict[str, Tensor]:
            return self._cut_block(np.broadcast_to(vector, model_BP.shape)[order_B], "shared")

        nudge = Nudge.of(dict(zip(self._names, stacked, strict=True)), self._kinds, plan, local.proximal, cut)
        rate, loss_B = local.rate(ctx.round), np.zeros(len(names))
        optimiser = Optimiser(stacked, local, rate)
        for batch in schedule.batches(examples):
            active = len(batch.sizes_B)
            optimiser.narrow(active)
            nudge = nudge.narrow(active)
            now = [tensor[:active] for tensor in stacked]
            losses_B, *gradients = self._block_step(batch, now)
            optimiser.step(nudge(gradients, now))
            loss_B[:active] += cast(Tensor, losses_B).numpy() * batch.sizes_B
        trained = self._trained_block(model_BP, private_BQ, stacked, schedule, counts, loss_B, rate)
        return trained if plan.only != "private" else replace(trained, travel_B=np.zeros(len(names)))

    def _block_step(self, batch: Batch, now: Sequence[Tensor]) -> Sequence[Tensor | None]:
        """Return all clients' losses and gradients of a step."""
        inputs, targets, sizes_B = batch
        size = targets.shape[1]
        if (sizes_B == size).all():
            return self._full(inputs, targets, *now)
        weights_Bb = (np.arange(size) < sizes_B[:, None]) / sizes_B[:, None]
        return self._padded(inputs, targets, torch.from_numpy(weights_Bb.astype(np.float32)), *now)

    def _tapes(self, loss: Callable[..., Tensor], given: int) -> Tapes:
        """Return the step of many clients from the loss of one, which is given so many tensors of a batch."""
        many = torch.func.vmap(torch.func.grad_and_value(loss))

        def step(*tensors: Tensor) -> Sequence[Tensor | None]:
            gradients, losses_B = many(tensors[given:], *tensors[:given])
            return losses_B, *gradients

        return Tapes(step, changing=given)

    def _mean(self, trained: Sequence[Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
        """Return one client's loss of a batch."""
        return self.task.loss(self._outputs(trained, inputs), targets)

    def _weighted(self, trained: Sequence[Tensor], inputs: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Return one client's loss of a batch, whose padding weighs nothing."""
        outputs = self._outputs(trained, inputs)
        each: Tensor = torch.func.vmap(lambda output, target: self.task.loss(output[None], target[None]))(
            outputs, targets
        )
        return (each * weights).sum()

    def _outputs(self, trained: Sequence[Tensor], inputs: Tensor) -> Tensor:
        named = dict(zip(self._names, trained, strict=True))
        return cast(Tensor, torch.func.functional_call(self.model, named, (inputs,)))

    def _stacked(self, model_BP: Array, private_BQ: Array) -> list[Tensor]:
        """Return each trained tensor for all clients, (B, ...)."""
        found = self._cut_block(model_BP, "shared") | self._cut_block(private_BQ, "private")
        return [found[name] for name in self._names]

    def _cut_block(self, vectors: Array, kind: str) -> dict[str, Tensor]:
        """Cut vectors (B, ...) into tensors with B in front."""
        found, at = {}, 0
        for entry in self.layout.entries:
            if entry.kind == kind:
                size = int(np.prod(entry.shape, dtype=np.int64))
                part = np.array(vectors[:, at : at + size]).reshape(len(vectors), *entry.shape)
                found[entry.name], at = torch.from_numpy(part), at + size
        return found

    def _trained_block(
        self,
        model_BP: Array,
        private_BQ: Array,
        stacked: Sequence[Tensor],
        schedule: Schedule,
        counts: Sequence[int],
        loss_B: Array,
        rate: float,
    ) -> Trained:
        many = len(private_BQ)
        delta_BP, after_BQ = np.zeros(model_BP.shape, np.float32), private_BQ.copy()
        there = dict(zip(self._names, stacked, strict=True))
        at = {"shared": 0, "private": 0}
        for entry in self.layout.entries:
            if (size := int(np.prod(entry.shape, dtype=np.int64))) and entry.kind in at:
                where = slice(at[entry.kind], at[entry.kind] + size)
                at[entry.kind] += size
                if entry.name in there:
                    value_BN = there[entry.name].reshape(many, size).numpy()
                    if entry.kind == "shared":
                        delta_BP[schedule.order_B, where] = value_BN - model_BP[schedule.order_B, where]
                    else:
                        after_BQ[schedule.order_B, where] = value_BN
        back_B = np.argsort(schedule.order_B)
        seen_B = np.maximum(schedule.sizes_BS.sum(1), 1)
        return Trained(
            delta_BP=delta_BP,
            private_BQ=after_BQ,
            examples_B=np.array(counts, np.float32),
            loss_B=(loss_B / seen_B)[back_B].astype(np.float32),
            travel_B=((schedule.sizes_BS > 0).sum(1) * rate)[back_B],
        )

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
