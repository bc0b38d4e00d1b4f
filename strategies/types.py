"""Types and shape suffixes that the whole algebra shares.

Shape suffixes: B clients in a block, D entries of a row, G groups of a total, P shared parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
"""An array of any numeric type."""


class Row(Protocol):
    """A client's row, in memory (an `Array` is one) or on disk: it need not be there as a whole."""

    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def nbytes(self) -> int: ...
    def __getitem__(self, where: slice, /) -> Array: ...


Slices: TypeAlias = tuple[slice, ...]
"""Stretches of a vector, apart and in order."""

Tree: TypeAlias = Mapping[str, Array]
"""A plain value: arrays by name, as safetensors holds them."""
