"""Checks of settings that attacks share."""

from __future__ import annotations

import math

from hansa.simulations.errors import AttackError


def demand_share(share: float) -> None:
    """Raise AttackError unless fewer than half of the clients attack."""
    if not 0 <= share < 0.5:
        raise AttackError(f"attack.share={share}: it is at least 0 and below 0.5.")


def demand_positive(name: str, value: float) -> None:
    """Raise AttackError for a setting that is no number above 0."""
    if not (math.isfinite(value) and value > 0):
        raise AttackError(f"attack.{name}={value}: it must be a number above 0.")


def demand_class(name: str, value: int, classes: int) -> None:
    """Raise AttackError for a class that a task does not have."""
    if not 0 <= value < classes:
        raise AttackError(f"attack.{name}={value}: the task has the classes 0 to {classes - 1}.")
