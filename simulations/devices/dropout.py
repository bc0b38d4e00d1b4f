"""Devices that are gone in mid-work: an error, a lost line, a person who takes the phone up."""

from __future__ import annotations

from dataclasses import dataclass

from hansa.simulations.devices.check import demand
from hansa.simulations.devices.luck import Luck


@dataclass(frozen=True, kw_only=True)
class Dropout:
    """A request is dropped with probability ``chance``, at a moment that is uniform over the time it would have taken.

    The coordinator notices ``noticed`` seconds later, as it does of a client whose time at the network ends. Raises
    DeviceError.
    """

    chance: float = 0.0
    noticed: float = 0.0

    def __post_init__(self) -> None:
        demand("dropout.chance", self.chance, most=1)
        demand("dropout.noticed", self.noticed)

    def share(self, luck: Luck, client: str, round: int, request: int) -> float | None:
        """Return after which share of its time a client drops a request; None where it does not."""
        if luck.uniform("dropout", client, round, request) >= self.chance:
            return None
        return luck.uniform("dropout moment", client, round, request)
