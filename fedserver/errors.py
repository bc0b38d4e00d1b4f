"""What can go wrong at the coordinator.

ServerError
├── Refused        a reply that is not let into the sum; says whose and why; the round goes on without it
├── SelectionError  cohorts that cannot be drawn as the settings or a file of theirs say
├── TooFewClients  clients did not come in time for the run to start
├── RunFailed      a run that cannot go on, with what it has learnt saved
└── RecordError    a run directory that cannot be written
"""

from __future__ import annotations


class ServerError(Exception):
    """The root: every message says what, where, and the remedy."""


class Refused(ServerError):
    """A reply that is not let into the sum."""


class SelectionError(ServerError):
    """Cohorts that cannot be drawn as the settings or a file of theirs say."""


class TooFewClients(ServerError):
    """Clients did not come in time for the run to start."""


class RunFailed(ServerError):
    """A run that cannot go on; what it has learnt is saved."""


class RecordError(ServerError):
    """A run directory that cannot be written."""
