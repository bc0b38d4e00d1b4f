"""Metrics whose sums over clients say what a metric of all data in one place would say.

A client sums over its own test set; the sums of all clients are added; the value is computed from the total.
Sums travel as float32, in which counts up to 2^24 of one client are exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from hansa.fedtasks.errors import MetricError, OptionError
from hansa.strategies.spec import Channel
from hansa.strategies.types import Array

COUNT = 2.0**31
"""The largest count that a client may report."""
FEWEST = 5
"""The AUC is not shown where either class has fewer examples: it would tell of single persons, and mean little."""


class Metric(Protocol):
    """One metric: what a client sums, and what the sums say."""

    def channels(self) -> tuple[Channel, ...]:
        """Return the channels that a client fills; their names begin with the metric's."""
        ...

    def local(self, outputs: Tensor, targets: Tensor) -> dict[str, Array]:
        """Sum over one client's whole test set: outputs (N, ...), targets (N, ...); float32 arrays by channel."""
        ...

    def values(self, sums: Mapping[str, Array]) -> dict[str, float | None]:
        """Read sums over clients, ``examples`` among them, a 0-d count; None stands for not available."""
        ...


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """The share of examples whose class is guessed right.

    Outputs are logits: (N, C), the largest is the guess, or (N,) or (N, 1) of two classes, positive where above 0.
    Where one example has several targets, (N, C, T) and (N, T), it counts by the share that is right.
    """

    def channels(self) -> tuple[Channel, ...]:
        return (Channel(name="accuracy.correct", cap=COUNT, nonnegative=True),)

    def local(self, outputs: Tensor, targets: Tensor) -> dict[str, Array]:
        if outputs.numel() == len(outputs):
            outputs, targets = outputs.reshape(-1), targets.reshape(-1)
        guesses = outputs > 0 if outputs.ndim == 1 else outputs.argmax(1)
        if guesses.shape != targets.shape:
            raise MetricError(
                f"accuracy: outputs {list(outputs.shape)} do not go with targets {list(targets.shape)}: "
                "give it logits (N, C) and classes (N,), or set the task's metrics."
            )
        right = (guesses == targets).double().reshape(len(targets), -1)
        return {"accuracy.correct": np.array(right.mean(1).sum().item(), np.float32)}

    def values(self, sums: Mapping[str, Array]) -> dict[str, float | None]:
        examples = float(sums["examples"])
        return {"accuracy": float(sums["accuracy.correct"]) / examples if examples > 0 else None}


@dataclass(frozen=True, kw_only=True)
class Auc:
    """The area under the ROC curve of a binary task, from histograms of scores.

    Each client counts its positives p_b and negatives n_b by score in ``bins`` equal bins b of [0, 1]. With the sums,
    P = sum_b p_b and N = sum_b n_b,

        auc       = sum_b p_b (sum_{c<b} n_c + n_b / 2) / (P N)
        auc_error = sum_b p_b n_b / (2 P N)

    A pair within one bin counts half and could count 0 or 1, so the exact AUC lies within auc ± auc_error. Outputs are
    logits (N,) or (N, 1), whose sigmoid is the score, or (N, 2), of which the softmax is taken; targets are 0 or 1.
    Both values are None below five of either class.
    """

    bins: int = 1024

    def __post_init__(self) -> None:
        if self.bins < 2:
            raise OptionError(f"auc: bins={self.bins} cannot rank anything: use 2 or more, such as 1024.")

    def channels(self) -> tuple[Channel, ...]:
        names = ("auc.positive", "auc.negative")
        return tuple(Channel(name=name, shape=(self.bins,), cap=COUNT, nonnegative=True) for name in names)

    def local(self, outputs: Tensor, targets: Tensor) -> dict[str, Array]:
        scores_N, positive_N = _scores(outputs), _positive(targets)
        if len(scores_N) != len(positive_N):
            raise MetricError(
                f"auc: {len(scores_N)} outputs do not go with {len(positive_N)} targets: give one target an example."
            )
        bin_N = (scores_N * self.bins).long().clamp(max=self.bins - 1)
        return {
            "auc.positive": self._histogram(bin_N[positive_N]),
            "auc.negative": self._histogram(bin_N[~positive_N]),
        }

    def values(self, sums: Mapping[str, Array]) -> dict[str, float | None]:
        p, n = (np.asarray(sums[channel.name], np.float64) for channel in self.channels())
        if p.sum() < FEWEST or n.sum() < FEWEST:
            return {"auc": None, "auc_error": None}
        below, pairs = np.cumsum(n) - n, p.sum() * n.sum()
        return {"auc": float(p @ (below + n / 2) / pairs), "auc_error": float(p @ n / 2 / pairs)}

    def _histogram(self, bins: Tensor) -> Array:
        return torch.bincount(bins, minlength=self.bins).numpy().astype(np.float32)


def _scores(outputs: Tensor) -> Tensor:
    """Return scores in [0, 1] of shape (N,), in float64: rounding could tie or swap what the model ranks."""
    logits = outputs.double()
    if logits.ndim == 2 and logits.shape[1] == 2:
        logits = logits[:, 1] - logits[:, 0]
    if logits.numel() != len(logits):
        raise MetricError(
            f"auc: outputs {list(outputs.shape)} are not those of two classes: "
            "give it logits (N,), (N, 1) or (N, 2), or set the task's metrics."
        )
    if logits.isnan().any():
        raise MetricError(f"auc: {int(logits.isnan().sum())} of {len(logits)} outputs are NaN: lower client.lr.")
    return torch.sigmoid(logits.reshape(-1))


def _positive(targets: Tensor) -> Tensor:
    flat = targets.reshape(-1)
    if not ((flat == 0) | (flat == 1)).all():
        raise MetricError("auc: targets other than 0 and 1: it is for two classes; set the task's metrics.")
    return flat == 1
