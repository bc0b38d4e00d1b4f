"""When to try again: after a share of the time that the line has been down, for ever, and not a whole fleet at once."""

from __future__ import annotations

SHARE = 1 / 6
SHORTEST, LONGEST = 2.0, 60.0
"""Seconds."""


def pause(outage: float, uniform: float) -> float:
    """Return the seconds until the next try where the line was lost so long ago, given a uniform draw from [0, 1].

    So a client is back after at most a sixth of the outage, but 2 s at least and 60 s at most.

    >>> [pause(outage, 1.0) for outage in (0, 30, 60, 86_400)]
    [2.0, 5.0, 10.0, 60.0]
    >>> pause(60, 0.0)
    5.0
    """
    return min(max(outage * SHARE, SHORTEST), LONGEST) * (1 + uniform) / 2
