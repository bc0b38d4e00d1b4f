"""A task's model as the algebra sees it: tensors by name, laid out in flat vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from hansa.fedtasks.task import Task
from hansa.strategies import LayoutError
from hansa.strategies.keys import from_seed
from hansa.strategies.layout import Kind, Layout
from hansa.strategies.types import Array


def initial(task: Task, seed: int) -> nn.Module:
    """Build the task's model as every place builds it: the same bits for a seed, in float32."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int.from_bytes(from_seed(seed, "model")[:8], "little", signed=True))
        return task.model().float()


def tensors(model: nn.Module) -> dict[str, Array]:
    """Return the model's parameters and buffers; on a CPU they share its memory."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in model.state_dict().items()}


NORMS = "norms"
"""Among patterns of names: all tensors of normalisation layers."""
NORMALISING = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def layout(task: Task, model: nn.Module, private: Sequence[str] | None = None) -> Layout:
    """Lay out the model as the task asks, with more ``private`` patterns; raises LayoutError."""
    if private is not None and not private and task.private:
        raise LayoutError(f"private=[]: private only adds to the task's own: {', '.join(task.private)}; leave it out.")
    fitted = [name for query in task.queries for name in query.sets]
    names = [name for pattern in (*task.private, *(private or ())) for name in meant(pattern, model)]
    buffers = {name for name, _ in model.named_buffers()}
    return Layout.of(tensors(model), private=names, frozen=task.frozen, fitted=fitted, buffers=buffers)


def meant(pattern: str, model: nn.Module) -> list[str]:
    """Return the patterns that a word of ``private`` stands for; raises LayoutError where it stands for none."""
    if pattern != NORMS:
        return [pattern]
    layers = [name for name, layer in model.named_modules() if isinstance(layer, NORMALISING)]
    names = [f"{layer}.{name}" for layer in layers for name in model.get_submodule(layer).state_dict()]
    if not names:
        raise LayoutError("private=[norms]: the model has no normalisation layer: name tensors, such as ['4.*'].")
    return names


def load(model: nn.Module, lay: Layout, vector: Array, kind: Kind) -> None:
    """Copy one kind's vector into the model, in place."""
    state = model.state_dict()
    with torch.no_grad():
        for name, value in lay.unpack(vector, kind).items():
            if state[name].device.type == "cpu":
                np.copyto(state[name].numpy(), value)  # no copy in between: a model may be most of the memory
            else:
                state[name].copy_(torch.from_numpy(np.array(value)))
