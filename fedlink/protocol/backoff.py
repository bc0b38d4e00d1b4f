"""When to try again: exponential with full jitter, for ever, so that a fleet does not come back in step."""

from __future__ import annotations

from dataclasses import dataclass

DOUBLINGS = 60
"""After so many the cap is reached, whatever the first pause."""


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """Pauses in seconds. Their upper bound begins with ``first`` and doubles up to ``cap``."""

    first: float = 1.0
    cap: float = 60.0

    def pause(self, failures: int, uniform: float) -> float:
        """Return the pause after so many failures in a row (1 and up), given a uniform draw from [0, 1).

        >>> [Backoff().pause(n, 0.5) for n in (1, 2, 3, 100)]
        [0.5, 1.0, 2.0, 30.0]
        """
        doublings = min(max(failures, 1) - 1, DOUBLINGS)
        return uniform * min(self.cap, self.first * 2.0**doublings)
