"""What simulated clients run on: how fast, how well connected, when they are there, and what it costs them."""

from hansa.simulations.devices.availability import Availability, Windows
from hansa.simulations.devices.compute import Compute
from hansa.simulations.devices.devices import Devices, Journey, Load
from hansa.simulations.devices.dropout import Dropout
from hansa.simulations.devices.energy import Energy
from hansa.simulations.devices.luck import Luck
from hansa.simulations.devices.network import Network

__all__ = ["Availability", "Compute", "Devices", "Dropout", "Energy", "Journey", "Load", "Luck", "Network", "Windows"]
