"""When to try again: in proportion to the outage, with jitter, for ever, so that a fleet does not come back in step."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """Pauses in seconds: a ``share`` of the outage so far, of which jitter takes up to a half.

    So whoever comes back after T seconds is tried again at most ``share`` T later, ``least`` and ``most`` apart.
    """

    least: float = 2.0
    most: float = 60.0
    share: float = 1 / 6

    def pause(self, outage: float, uniform: float) -> float:
        """Return the pause after so many seconds without a line, given a uniform draw from [0, 1).

        >>> [Backoff().pause(seconds, 0.5) for seconds in (0, 60, 3600)]
        [1.5, 7.5, 45.0]
        """
        return min(self.most, max(self.least, self.share * outage)) * (1 + uniform) / 2
