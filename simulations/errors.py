"""What can go wrong with a federation on one machine.

SimulationError
├── EngineError    an engine that cannot do this work, or is not there
├── DeviceError    a device model or a trace that makes no sense, or clients that are never there again
├── AttackError    an attack that makes no sense, or that a strategy or a task leaves no room for
├── AppError       a Flower app that is not there, lacks a part, or does not import
├── ScratchError   a folder for what a run keeps while it goes on that cannot be made
├── WorkerDied     worker processes that die over one and the same client
└── ClientFailed   a client's work that raised an error, under debug=true
"""

from __future__ import annotations


class SimulationError(Exception):
    """The root: every message says what, where, and the remedy."""


class EngineError(SimulationError):
    """An engine that cannot do this work, or is not there."""


class DeviceError(SimulationError):
    """A device model or a trace that makes no sense, or clients that are never there again."""


class AttackError(SimulationError):
    """An attack that makes no sense, or that a strategy or a task leaves no room for."""


class AppError(SimulationError):
    """A Flower app that is not there, lacks a part, or does not import."""


class ScratchError(SimulationError):
    """A folder for what a run keeps while it goes on cannot be made."""


class WorkerDied(SimulationError):
    """Worker processes that die over one and the same client."""


class ClientFailed(SimulationError):
    """A client's work that raised an error."""
