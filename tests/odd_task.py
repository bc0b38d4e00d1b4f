"""A task whose model has all that is unusual, and whose data may be broken; and runs of it under every strategy."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from hansa.conf.components import allow
from hansa.conf.compose import compose, own_code
from hansa.conf.run import Run, assemble
from hansa.fedtasks import Data, Task

CONF = Path(__file__).parents[1] / "conf"
STRATEGIES = sorted(path.stem for path in (CONF / "strategy").glob("*.yaml"))
NEEDED = {
    "fedbn": ["private=[norms]"],
    "fedper": ["private=['head.*']"],
    "fedrep": ["private=['head.*']"],
    "fltrust": ["strategy.root=c0"],
    "pfedme": ["strategy.local_rounds=2", "strategy.steps=2"],
}
"""Settings without which a strategy is refused, or takes long."""
CLIENTS = tuple(f"c{i}" for i in range(9))
BROKEN = {"c3": np.nan, "c5": np.inf}
TARGET = f"{__file__}:{{}}"


class Net(nn.Module):
    """Two layers, with a factor that has no dimension, BatchNorm, and a count of its own training steps."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.norm, self.head = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)
        self.factor = nn.Parameter(torch.tensor(1.0))
        self.register_buffer("steps", torch.tensor(0))

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training:
            self.steps += 1
        return self.head(torch.relu(self.factor * self.norm(self.body(inputs))))


@dataclass(frozen=True, kw_only=True)
class Odd(Task):
    """Clients c0 to c8 with so many ``examples`` each, but for one that is ``bare``; where it is ``broken`` c3 has NaN
    among them and c5 infinity."""

    examples: int = 8
    broken: bool = False
    bare: str = ""

    def clients(self) -> tuple[str, ...]:
        return CLIENTS

    def model(self) -> nn.Module:
        return Net()

    def data(self, client: str) -> Data:
        rng = np.random.default_rng(int(client[1:]))
        x_NF = rng.standard_normal((0 if client == self.bare else self.examples, 3), dtype=np.float32)
        y_N = (x_NF[:, 0] > 0).astype(np.int64)
        if self.broken and client in BROKEN:
            x_NF[0, 0] = BROKEN[client]
        data = TensorDataset(torch.from_numpy(x_NF), torch.from_numpy(y_N))
        return Data(train=data, test=data)


class Looped(Odd):
    """With a training loop of its own, which follows nobody's plan."""

    def train(self, model, data, settings, rng):
        inputs, targets = data.tensors
        loss = self.loss(model(inputs), targets)
        loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= settings.lr * parameter.grad
        return float(loss.detach())


class Unlinear(Odd):
    """With a model that has no linear layer."""

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Unflatten(1, (1, 3)), nn.Conv1d(1, 2, 3), nn.Flatten())


@functools.cache
def composed(strategy: str) -> tuple[DictConfig, Mapping[str, str]]:
    """Compose the configuration of a short run: two steps of four examples a client and round."""
    words = ["rounds=2", "evaluation.every=2", "client.batch_size=4", *NEEDED.get(strategy, [])]
    return compose(own_code([f"task={TARGET.format('Odd')}", f"strategy={strategy}", *words]))


def odd(strategy: str, *words: str, task: str = "Odd") -> Run:
    """Assemble a short run of a strategy, with other settings where words say so."""
    config, choices = composed(strategy)
    allow("task", TARGET.format(task))
    changed = OmegaConf.merge(config, OmegaConf.from_dotlist([f"task._target_={TARGET.format(task)}", *words]))
    return assemble(changed, choices)
