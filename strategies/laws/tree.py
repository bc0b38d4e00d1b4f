"""Plain trees: checked, copied and compared to the bit."""

from __future__ import annotations

import numpy as np

from hansa.strategies.strategy import State
from hansa.strategies.types import Array, Tree


def demand(holds: bool, message: str) -> None:
    """Raise AssertionError with the message where a law does not hold."""
    if not holds:
        raise AssertionError(message)


def copied(tree: Tree, what: str) -> State:
    """Return a copy that went through bytes; raises AssertionError where the tree is not plain."""
    for name, value in tree.items():
        plain = isinstance(name, str) and isinstance(value, np.ndarray) and value.dtype.kind in "fiub"
        demand(plain, f"{what} must be arrays of numbers by name, but {name!r} is {type(value).__name__}.")
    return {
        name: np.frombuffer(value.tobytes(), value.dtype).reshape(value.shape).copy() for name, value in tree.items()
    }


def demand_same(expected: Tree, got: Tree, what: str) -> None:
    """Raise AssertionError, naming the first entry, where two trees are not the same to the bit."""
    names = sorted(expected.keys() ^ got.keys())
    demand(not names, f"{what}: {', '.join(names)} {'is' if len(names) == 1 else 'are'} in only one of the two.")
    for name, value in expected.items():
        demand(_bits(value) == _bits(got[name]), f"{what}: {name!r} differs {_how(value, got[name])}.")


def _bits(value: Array) -> tuple[str, tuple[int, ...], bytes]:
    return value.dtype.str, value.shape, value.tobytes()


def _how(a: Array, b: Array) -> str:
    if (a.dtype, a.shape) != (b.dtype, b.shape):
        return f"in type or shape: {a.dtype}{list(a.shape)}, {b.dtype}{list(b.shape)}"
    gap = np.abs(a.astype(np.float64) - b.astype(np.float64))
    return f"in {np.count_nonzero(gap)} of {a.size} entries, by up to {gap.max(initial=0.0):.3g}"
