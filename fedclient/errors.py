"""What can go wrong at a client.

ClientError
├── SettingsError   settings of local training that cannot be followed
├── StateLost       a client's state that should be here and is not
└── StageFailed     work that raised an error; says in which stage, and of what type
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class ClientError(Exception):
    """The root: every message says what, where, and the remedy."""


class SettingsError(ClientError):
    """Settings of local training that cannot be followed."""


class StateLost(ClientError):
    """A client was counted with a state that is no longer here."""


class StageFailed(ClientError):
    """Work that raised an error in a stage."""

    def __init__(self, stage: str, error: Exception) -> None:
        lines = str(error).strip().splitlines()
        super().__init__(lines[0] if lines else "no message")
        self.stage, self.kind = stage, type(error).__name__


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Name the stage of whatever error is raised inside; the innermost name stays."""
    try:
        yield
    except StageFailed:
        raise
    except Exception as error:
        raise StageFailed(name, error) from error
