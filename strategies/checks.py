"""What settings may be. A field has the name by which it is set, such as strategy.lr; what it may not be is a
CompositionError, in one sentence."""

from __future__ import annotations

import math

from hansa.strategies.errors import CompositionError


def at_least(field: str, value: float, least: float, which: str = "") -> None:
    """Refuse what is below the least; ``which`` says what that one means."""
    if not value >= least:
        raise _refusal(field, value, f"it must be at least {least}", which)
    _finite(field, value)


def above(field: str, value: float, floor: float, which: str = "") -> None:
    """Refuse what is not above a number; ``which`` names a good one, or says why."""
    if not value > floor:
        raise _refusal(field, value, f"it must be above {floor}", which)
    _finite(field, value)


def decay(field: str, value: float) -> None:
    """Refuse a decay that lets the past grow."""
    if not 0 <= value < 1:
        raise CompositionError(f"{field}={value}: it must be at least 0 and below 1.")


def one_of(field: str, value: str, known: tuple[str, ...]) -> None:
    """Refuse a word that a field does not know."""
    if value not in known:
        raise CompositionError(f"{field}={value!r}: it is one of {', '.join(known)}.")


def _finite(field: str, value: float) -> None:
    if not math.isfinite(value):
        raise CompositionError(f"{field}={value}: it must be a finite number.")


def _refusal(field: str, value: float, words: str, which: str) -> CompositionError:
    return CompositionError(f"{field}={value}: {words}{f', {which}' if which else ''}.")
