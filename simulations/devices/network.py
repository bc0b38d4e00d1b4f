"""How fast devices send and receive."""

from __future__ import annotations

from dataclasses import dataclass

from hansa.simulations.devices.check import demand
from hansa.simulations.devices.luck import Luck

BITS = 8e-6
"""Megabits of a byte."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """A line of its own for each client: log-normal over clients, and for each client over its requests.

    ``down`` and ``up`` are in Mbit/s and ``latency`` in seconds, of the median device; ``spread`` is the standard
    deviation of the logarithm over clients, ``jitter`` that over one client's requests. The coordinator's own line is
    taken to be wide enough for all. Raises DeviceError.
    """

    down: float = 100.0
    up: float = 100.0
    latency: float = 0.0
    spread: float = 0.0
    jitter: float = 0.0

    def __post_init__(self) -> None:
        demand("network.down", self.down, above=True)
        demand("network.up", self.up, above=True)
        demand("network.latency", self.latency)
        demand("network.spread", self.spread, most=3)
        demand("network.jitter", self.jitter, most=3)

    def seconds(self, luck: Luck, client: str, round: int, request: int, sizes: tuple[int, int]) -> tuple[float, float]:
        """Return the seconds of the way down and of the way up, of so many bytes each.

        >>> Network(down=8.0, up=4.0, latency=0.5).seconds(Luck(b"key"), "riga", 1, 0, (1_000_000, 1_000_000))
        (1.5, 2.5)
        """
        slow = luck.factor(self.spread, "network", client)
        return (
            self._way(slow * luck.factor(self.jitter, "down", client, round, request), sizes[0], self.down),
            self._way(slow * luck.factor(self.jitter, "up", client, round, request), sizes[1], self.up),
        )

    def _way(self, slow: float, size: int, rate: float) -> float:
        return slow * (self.latency + BITS * size / rate)
