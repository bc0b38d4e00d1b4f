"""Local training and evaluation in torch: the same bits for a seed on one CPU type, one thread, one set of wheels."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from hansa.fedclient.cache import Cache
from hansa.fedclient.contrast import Contrast
from hansa.fedclient.errors import SettingsError, stage
from hansa.fedclient.nudge import Nudge, followed
from hansa.fedclient.optimiser import Optimiser
from hansa.fedclient.settings import Local
from hansa.fedclient.tape import Step, Tapes
from hansa.fedtasks import Data, Examples, Task
from hansa.fedtasks.evaluation import channels, forward, pick, sums
from hansa.fedtasks.model import initial, layout, load, tensors
from hansa.strategies import Context, Layout, Plan, Trained
from hansa.strategies.pipeline import Names
from hansa.strategies.types import Array
from hansa.strategies.work import PLAIN, row

CACHED = 2**29
"""Bytes of clients' data that stay in memory after their first use."""
AHEAD = 64
"""Batches that are gathered at once from data in memory."""
Measure: TypeAlias = Callable[[nn.Module, Examples], dict[str, Array]]
"""Sums of a model on examples, by channel."""


def traits(task: Task, settings: Local, model: nn.Module) -> frozenset[str]:
    """Say what local training can do for a strategy, in the words of ``Problem.training``."""
    if task.train is not None:
        return frozenset()
    linear = any(isinstance(module, nn.Linear) for module in model.modules())
    found = {"corrects": True, "sgd": settings.plain, "contrasts": linear}
    return frozenset(trait for trait, there in found.items() if there)


@dataclass
class TorchWork:
    """Implements ``strategies.Trainer`` for the clients whose data this place can read.

    ``private_patterns`` name tensors that each client keeps to itself, beside those that the task names.
    """

    task: Task
    settings: Local
    seed: int
    private_patterns: Sequence[str] | None = None
    model: nn.Module = field(init=False)
    layout: Layout = field(init=False)

    def __post_init__(self) -> None:
        self._check_device()
        with stage("building the model"):
            self.model = initial(self.task, self.seed)
        self.layout = layout(self.task, self.model, self.private_patterns)
        self._start_Q = self.layout.pack(tensors(self.model), "private")
        self._kinds = {entry.name: entry.kind for entry in self.layout.entries}
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(self._kinds[name] in ("shared", "private"))
        self.model.to(self.settings.device)
        frozen = [entry.name for entry in self.layout.entries if entry.kind == "frozen"]
        trained = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        self._names, self._trained = list(trained), list(trained.values())
        self._step = Tapes(self._gradients)
        plain = self.settings.device == "cpu" and not list(self.model.buffers())
        self._found = tensors(self.model) if plain else {}
        self._frozen = {name: buffer.clone() for name, buffer in self.model.named_buffers() if name in frozen}
        self.data = Cache(self._data, CACHED)

    @cached_property
    def _contrast(self) -> Contrast:
        return Contrast(self.model, self.task.loss)

    def fit(self, fitted: Array) -> None:
        """Take in what federated queries found out."""
        load(self.model, self.layout, fitted, "fitted")

    def private(self, names: Names) -> Array:
        return np.tile(self._start_Q, (len(names), 1))

    def train(self, model: Array, private_BQ: Array, names: Names, ctx: Context, plan: Plan = PLAIN) -> Trained:
        done = [
            self._train(row(model, i), private_Q, name, ctx, plan.of(i))
            for i, (private_Q, name) in enumerate(zip(private_BQ, names, strict=True))
        ]
        delta, private, examples, loss, travel = zip(*done, strict=True)
        return Trained(
            delta_BP=_block(delta),
            private_BQ=_block(private),
            examples_B=np.array(examples, np.float32),
            loss_B=np.array(loss, np.float32),
            travel_B=np.array(travel, np.float64),
        )

    def evaluate(self, model: Array, private_BQ: Array, names: Names) -> dict[str, Array]:
        done = [
            self._evaluate(row(model, i), private_Q, name)
            for i, (private_Q, name) in enumerate(zip(private_BQ, names, strict=True))
        ]
        return {channel.name: np.stack([one[channel.name] for one in done]) for channel in channels(self.task)}

    def losses(self, model: Array, private_BQ: Array, names: Names) -> dict[str, Array]:
        done = [
            self._loss(row(model, i), private_Q, name)
            for i, (private_Q, name) in enumerate(zip(private_BQ, names, strict=True))
        ]
        loss_B, examples_B = zip(*done, strict=True)
        return {"loss": np.array(loss_B, np.float32), "examples": np.array(examples_B, np.float32)}

    def query(self, query: str, names: Names) -> dict[str, Array]:
        asked = next(q for q in self.task.queries if q.name == query)
        with stage(f"answering query {query!r}"):
            done = [asked.local(self.data(name).train) for name in names]
        return {channel.name: np.stack([one[channel.name] for one in done]) for channel in asked.channels()}

    def central(self, *more: Measure) -> Callable[[Array, Array], dict[str, Array]] | None:
        """Return what evaluates shared and fitted parameters on the coordinator's data, if the task has some.

        ``more`` says what else is summed on it.
        """
        with stage("loading the coordinator's data"):
            examples = self.task.server_data()
        if examples is None:
            return None

        def evaluate(model_P: Array, fitted_F: Array) -> dict[str, Array]:
            self.fit(fitted_F)
            self._load(model_P, self._start_Q)
            found = sums(self.task, self.model, examples)
            for measure in more:
                found |= measure(self.model, examples)
            return found

        return evaluate

    def shapes(self, client: str) -> str:
        """Say in words what a client's first batch and the model look like."""
        tensors = ", ".join(f"{entry.name} {list(entry.shape)}" for entry in self.layout.entries)
        try:
            x, y = pick(self.data(client).train, np.arange(1), "cpu")
        except Exception as error:  # noqa: BLE001 - this is said of a client that has failed already
            return f"its data cannot be read ({type(error).__name__}); the model has {tensors}"
        inputs, targets = f"{list(x.shape[1:])} {x.dtype}", f"{list(y.shape[1:])} {y.dtype}"
        return f"an input is {inputs}, a target {targets}; the model has {tensors}"

    def _data(self, name: str) -> Data:
        with stage("loading data"):
            return self.task.data(name)

    def _cut(self, vector_P: Array) -> dict[str, Tensor]:
        """Return tensors of shared parameters, in memory of their own where the model is."""
        parts = self.layout.unpack(vector_P, "shared")
        return {name: torch.from_numpy(np.array(part)).to(self.settings.device) for name, part in parts.items()}

    def _check_device(self) -> None:
        device = self.settings.device
        there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        if not there[device]:
            raise SettingsError(f"client.device={device}: this machine has none; use client.device=cpu.")

    def _train(
        self, model_P: Array, private_Q: Array, name: str, ctx: Context, plan: Plan
    ) -> tuple[Array, Array, int, float, float]:
        examples = self.data(name).train
        if (count := len(examples)) == 0:
            return np.zeros_like(model_P), private_Q, 0, 0.0, 0.0
        self._load(model_P, private_Q)
        if self.task.train is not None or not self.model.training:  # it walks through all modules
            self.model.train()
        with stage("training"), _seeded(ctx.seed(name, plan.purpose("torch")), self.settings.device):
            loss, travel = self._learn(examples, name, ctx, plan)
        after = self._tensors()
        if plan.only == "private":
            return np.zeros_like(model_P), self.layout.pack(after, "private"), count, loss, 0.0
        delta_P = self.layout.pack(after, "shared")
        delta_P -= model_P
        return delta_P, private_Q if plan.only else self.layout.pack(after, "private"), count, loss, travel

    def _learn(self, examples: Any, name: str, ctx: Context, plan: Plan) -> tuple[float, float]:
        """Train the loaded model in place; return the mean loss and the sum of the learning rates."""
        rng = ctx.learning(name, plan.purpose("batches"))
        if self.task.train is not None:
            self.model.zero_grad()
            told = self.task.train(self.model, examples, self.settings, rng)
            return (forward(self.task, self.model, examples)[2] / len(examples) if told is None else float(told)), 0.0
        local = followed(self.settings, plan)
        optimiser = Optimiser(self._trained, local, local.rate(ctx.round))
        nudge = Nudge.of(
            dict(zip(self._names, self._trained, strict=True)), self._kinds, plan, local.proximal, self._cut
        )
        losses, sizes, travel = list[Any](), list[int](), 0.0
        with torch.no_grad():
            step = self._contrasting(plan) if plan.contrast else self._step
            for inputs, targets in self._batches(examples, local, rng):
                loss, *gradients = step(inputs, targets, *self._trained)
                optimiser.step(nudge(gradients, self._trained))
                losses.append(loss)
                sizes.append(targets.shape[0])
                travel += optimiser.rate
        return sum(float(loss) * size for loss, size in zip(losses, sizes, strict=True)) / sum(sizes), travel

    def _gradients(self, inputs: Tensor, targets: Tensor, *trained: Tensor) -> Sequence[Tensor | None]:
        """Return the loss of a batch and its gradients; ``trained`` are the model's own parameters."""
        with torch.enable_grad():
            loss = self.task.loss(self.model(inputs), targets)
            return loss.detach(), *torch.autograd.grad(loss, trained, allow_unused=True)

    def _contrasting(self, plan: Plan) -> Step:
        """Return a step that contrasts representations with those of where the model is now, and of another one."""
        assert plan.previous is not None
        found = [*zip(self._names, self._trained, strict=True), *self.model.named_buffers()]
        here = {name: tensor.detach().clone() for name, tensor in found}  # BatchNorm moves what it is given
        far = here | self._cut(plan.previous)
        play = self._contrast.step(plan.contrast, plan.temperature, self._names)

        def step(inputs: Tensor, targets: Tensor, *trained: Tensor) -> Sequence[Tensor | None]:
            fixed = [self._contrast.represented(named, inputs)[1] for named in (here, far)]
            return play(inputs, targets, *fixed, *trained)

        return step

    def _batches(self, examples: Any, local: Local, rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        count, steps = len(examples), local.steps
        size = local.batch_size or count
        at_once = size * (AHEAD if type(examples) is TensorDataset else 1)
        passes = itertools.count() if steps else range(local.epochs)
        orders = (rng.permutation(count) for _ in passes)
        rows = (order[start : start + at_once] for order in orders for start in range(0, count, at_once))
        blocks = (pick(examples, some, self.settings.device) for some in rows)
        batches = (batch for block in blocks for batch in zip(*(_split(part, size) for part in block), strict=True))
        return itertools.islice(batches, steps or None)

    def _tensors(self) -> dict[str, Array]:
        """Return the model's tensors; where there are no buffers, which a model may replace, they are found once."""
        return self._found or tensors(self.model)

    def _load(self, model_P: Array, private_Q: Array) -> None:
        if self._found:
            here = self.layout.unpack(model_P, "shared") | self.layout.unpack(private_Q, "private")
            for name, part in here.items():
                np.copyto(self._found[name], part)
            return
        load(self.model, self.layout, model_P, "shared")
        load(self.model, self.layout, private_Q, "private")
        for name, value in self._frozen.items():  # BatchNorm moves its statistics without being asked
            self.model.get_buffer(name).copy_(value)

    def _loss(self, model_P: Array, private_Q: Array, name: str) -> tuple[float, int]:
        examples = self.data(name).train
        if (count := len(examples)) == 0:
            return 0.0, 0
        self._load(model_P, private_Q)
        with stage("measuring the loss"):
            return forward(self.task, self.model, examples)[2], count

    def _evaluate(self, model_P: Array, private_Q: Array, name: str) -> dict[str, Array]:
        examples = self.data(name).test
        self._load(model_P, private_Q)
        with stage("evaluating"):
            return sums(self.task, self.model, examples)


def _split(whole: Tensor, size: int) -> Sequence[Tensor]:
    """Cut a tensor as torch.split does, which goes through three functions in Python."""
    count = whole.shape[0]
    return torch.split_with_sizes(whole, [min(size, count - start) for start in range(0, count, size)])


@contextmanager
def _seeded(seed: int, device: str) -> Iterator[None]:
    """Seed torch's own randomness for one client; on a CPU without ``torch.manual_seed``, which takes 0.3 ms."""
    if device != "cpu":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
        return
    before = torch.default_generator.get_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.default_generator.set_state(before)


def _block(rows: Sequence[Array]) -> Array:
    """Put rows below each other; one alone is not copied, for it may be as large as the model."""
    return rows[0][None] if len(rows) == 1 else np.stack(rows)
