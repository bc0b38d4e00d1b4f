"""What work costs a device in energy."""

from __future__ import annotations

from dataclasses import dataclass

from hansa.simulations.devices.check import demand


@dataclass(frozen=True, kw_only=True)
class Energy:
    """Power in watts, above that of a device at rest: while it is ``computing``, and while it is ``sending`` or
    receiving. Raises DeviceError."""

    computing: float = 0.0
    sending: float = 0.0

    def __post_init__(self) -> None:
        demand("energy.computing", self.computing)
        demand("energy.sending", self.sending)

    def joules(self, computing: float, sending: float) -> float:
        """Return the energy of so many seconds of each.

        >>> Energy(computing=5.0, sending=1.0).joules(10.0, 2.0)
        52.0
        """
        return self.computing * computing + self.sending * sending
