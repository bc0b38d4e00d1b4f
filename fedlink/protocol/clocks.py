"""Two clocks that differ too much are told, for certificates begin and end by the clock."""

from __future__ import annotations

UNITS = ((86400.0, 2, "days"), (3600.0, 1, "h"), (60.0, 1, "min"))


def milliseconds(wall: float) -> int:
    """Return a time since 1970 in seconds as the wire has it."""
    return round(wall * 1000)


def notice(whose: str, device_ms: int, coordinator_ms: int, skew: float) -> str | None:
    """Say how far a device's clock is off, or None where it is less than ``skew`` seconds.

    >>> notice("this device's clock", 0, 86_400_000, 300)
    "this device's clock is 24.0 h behind the coordinator's: set it, e.g. by NTP."
    >>> notice("it", 45_000, 0, 30)
    "it is 45 s ahead of the coordinator's: set it, e.g. by NTP."
    """
    seconds = (device_ms - coordinator_ms) / 1000
    if abs(seconds) <= skew:
        return None
    where = "ahead of" if seconds > 0 else "behind"
    return f"{whose} is {spoken(abs(seconds))} {where} the coordinator's: set it, e.g. by NTP."


def spoken(seconds: float) -> str:
    """Write a duration for a person.

    >>> spoken(3 * 86_400), spoken(5)
    ('3.0 days', '5 s')
    """
    for unit, least, name in UNITS:
        if seconds >= unit * least:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.0f} s"
