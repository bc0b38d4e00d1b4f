"""Checks of settings that are shared by all parts of a device model."""

from __future__ import annotations

import math

from hansa.simulations.errors import DeviceError


def demand(name: str, value: float, least: float = 0.0, most: float = math.inf, *, above: bool = False) -> None:
    """Raise DeviceError where a setting is no number within its bounds, ``least`` left out if it must be above it."""
    if math.isfinite(value) and least <= value <= most and not (above and value == least):
        return
    lower = f"above {least:g}" if above else f"at least {least:g}"
    upper = "" if most == math.inf else f" and at most {most:g}"
    raise DeviceError(f"devices.{name}={value}: it must be {lower}{upper}.")
