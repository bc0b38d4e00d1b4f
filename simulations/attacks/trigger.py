"""What a backdoor answers to: a patch of pixels, or one feature of a set value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from hansa.simulations.errors import AttackError


class Trigger(Protocol):
    """Marks inputs."""

    def put(self, inputs: Tensor) -> Tensor:
        """Return marked copies of inputs (N, ...); raises AttackError where the mark lies outside of them."""
        ...


@dataclass(frozen=True, kw_only=True)
class Patch:
    """A square of ``size`` pixels a side whose upper left one is at ``row`` and ``column``, all of ``value``.

    Pictures are (N, ..., H, W), or flat (N, F) with F a square number.
    """

    row: int = 0
    column: int = 0
    size: int = 2
    value: float = 1.0

    def put(self, inputs: Tensor) -> Tensor:
        pictures = inputs.clone().reshape(len(inputs), *_picture(inputs.shape[1:]))
        height, width = pictures.shape[-2:]
        down, right = self.row + self.size, self.column + self.size
        if min(self.row, self.column) < 0 or self.size < 1 or down > height or right > width:
            raise AttackError(
                f"attack.trigger: a patch of {self.size} x {self.size} pixels at row {self.row}, column {self.column} "
                f"is not inside of a picture of {height} x {width}: change row, column or size."
            )
        pictures[..., self.row : down, self.column : right] = self.value
        return pictures.reshape(inputs.shape)


@dataclass(frozen=True, kw_only=True)
class Feature:
    """Feature number ``index`` of an input (N, F) is set to ``value``, in the units of the data."""

    index: int = 0
    value: float = 1.0

    def put(self, inputs: Tensor) -> Tensor:
        if inputs.ndim != 2 or not 0 <= self.index < inputs.shape[1]:
            raise AttackError(
                f"attack.trigger.index={self.index}: an input has the shape {list(inputs.shape[1:])}: name one of its "
                "features, from 0; for pictures take attack=backdoor."
            )
        marked = inputs.clone()
        marked[:, self.index] = self.value
        return marked


def _picture(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of an input as a picture; raises AttackError."""
    if len(shape) >= 2:
        return shape
    side = math.isqrt(math.prod(shape))
    if not shape or side**2 != shape[0]:
        raise AttackError(
            f"attack.trigger: an input of shape {list(shape)} is no picture: take attack=backdoor_feature."
        )
    return side, side
