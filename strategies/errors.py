"""What can go wrong in the algebra, and what a person can do about it.

StrategyError
├── CompositionError   pieces that mean nothing when put together; raised when the configuration is read
├── LayoutError        a model whose tensors cannot be laid out as asked
├── SumError           an entry that is outside its channel's cap, or a sum over more rows than it was built for
└── RoundLost          a round that has nothing to learn from; the state stays and the run goes on
"""

from __future__ import annotations


class StrategyError(Exception):
    """The root: every message says what, where, and the remedy."""


class CompositionError(StrategyError):
    """Pieces that cannot mean what they say when put together."""


class LayoutError(StrategyError):
    """A model whose tensors cannot be laid out as shared, private and frozen."""


class SumError(StrategyError):
    """A row that must not enter an exact sum."""


class RoundLost(StrategyError):
    """A round whose answers cannot be combined."""
