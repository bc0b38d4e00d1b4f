"""Types and shape suffixes that the whole algebra shares.

Shape suffixes: B clients in a block, D entries of a row, G groups of a total, P shared parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
"""An array of any numeric type."""

Tree: TypeAlias = Mapping[str, Array]
"""A plain value: arrays by name, as safetensors holds them."""
