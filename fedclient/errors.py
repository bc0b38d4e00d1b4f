"""What can go wrong at a client.

ClientError
├── SettingsError   settings of local training that cannot be followed
├── StateLost       a client's state that should be here and is not
├── NoExamples      a client that is to train and has nothing to train on
├── UnsteadyModel   a model whose steps change in a way that only Python knows of
├── NotApproved     a task that nobody approved at this place, or not in this form
└── StageFailed     work that raised an error; says in which stage, and of what type
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OWN = "hansa_local_"
"""How the names of modules begin that come from a person's own files."""


class ClientError(Exception):
    """The root: every message says what, where, and the remedy."""


class SettingsError(ClientError):
    """Settings of local training that cannot be followed."""


class StateLost(ClientError):
    """A client was counted with a state that is no longer here."""


class NoExamples(ClientError):
    """A client that is to train and has nothing to train on: its update of 0 would count as one that agrees."""

    def __init__(self) -> None:
        super().__init__("no training examples: give it data, or leave it out of the federation")


class UnsteadyModel(ClientError):
    """A model whose steps change in a way that only Python knows of."""


class NotApproved(ClientError):
    """A task that nobody approved at this place, or not in this form; nothing of it runs."""


class StageFailed(ClientError):
    """Work that raised an error in a stage."""

    def __init__(self, stage: str, error: Exception) -> None:
        lines = str(error).strip().splitlines()
        super().__init__(f"{lines[0] if lines else 'no message'}{_own_line(error)}")
        self.stage, self.kind = stage, type(error).__name__


def _own_line(error: Exception) -> str:
    """Say at which line of a person's own file an error arose; Hansa's own errors say all that is needed."""
    frames = [f for f, _ in traceback.walk_tb(error.__traceback__) if f.f_globals.get("__name__", "").startswith(OWN)]
    if not frames or any(base.__module__.startswith("hansa.") for base in type(error).__mro__):
        return ""
    return f" ({Path(frames[-1].f_code.co_filename).name}, line {frames[-1].f_lineno})"


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Name the stage of whatever error is raised inside; the innermost name stays."""
    try:
        yield
    except StageFailed:
        raise
    except Exception as error:
        raise StageFailed(name, error) from error
