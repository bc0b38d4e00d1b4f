"""What an evaluation sums on one place's test data: examples, loss, and what the task's metrics ask for."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset, default_collate

from hansa.fedtasks.examples import Examples
from hansa.fedtasks.task import Task
from hansa.strategies.spec import Channel
from hansa.strategies.types import Array

AT_ONCE = 1024
"""Examples that go through the model at once."""


def channels(task: Task) -> tuple[Channel, ...]:
    """Return the channels of an evaluation."""
    examples = Channel(name="examples", cap=2.0**31, nonnegative=True)
    own = (channel for metric in task.metrics for channel in metric.channels())
    return (examples, Channel(name="loss", cap=2.0**31), *own)


def sums(task: Task, model: nn.Module, examples: Examples | None) -> dict[str, Array]:
    """Return the channels' values on examples, float32; zeros where there are none."""
    if examples is None or len(examples) == 0:
        return {channel.name: np.zeros(channel.shape, np.float32) for channel in channels(task)}
    outputs, targets, loss = forward(task, model, examples)
    found: dict[str, Array] = {"examples": np.array(len(targets)), "loss": np.array(loss)}
    for metric in task.metrics:
        found |= metric.local(outputs, targets)
    return {name: np.asarray(value, np.float32) for name, value in found.items()}


def forward(task: Task, model: nn.Module, examples: Examples) -> tuple[Tensor, Tensor, float]:
    """Return the model's outputs and the targets, (N, ...) on the CPU, and the summed loss."""
    model.eval()
    device = next(model.parameters()).device
    outputs, targets, loss = [], [], 0.0
    with torch.inference_mode():
        for start in range(0, len(examples), AT_ONCE):
            x, y = pick(examples, np.arange(start, min(start + AT_ONCE, len(examples))), device)
            out = model(x)
            loss += float(task.loss(out, y)) * len(y)
            outputs.append(out.cpu())
            targets.append(y.cpu())
    return torch.cat(outputs), torch.cat(targets), loss


def pick(examples: Examples, rows: Array, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Return the inputs and targets of some rows, on a device."""
    if type(examples) is TensorDataset:
        index = torch.from_numpy(rows)
        inputs, targets = (tensor.index_select(0, index) for tensor in examples.tensors)
    else:
        inputs, targets = default_collate([examples[int(i)] for i in rows])
    return inputs.to(device), targets.to(device)
