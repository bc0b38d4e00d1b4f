"""What can go wrong at a client.

ClientError
├── SettingsError        settings of local training that cannot be followed
├── StateLost            a client's state that should be here and is not
│   └── StateUnreadable  its file is here and cannot be read
├── NoExamples           a client that is to train and has nothing to train on
├── UnsteadyModel        a model whose steps change in a way that only Python knows of
├── NotApproved          work that was not approved at this place, or not in this form
├── BeyondLimits         work that needs more than the owner of this place gives
└── StageFailed          work that raised an error; says in which stage, and of what type
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from hansa.fedclient.outside import inside, outside
from hansa.fedlink.texts import one_line

LONGEST = 100
"""Characters of a stage, which may be the name that a coordinator gives to an endpoint."""


class ClientError(Exception):
    """The root: every message says what, where, and the remedy."""

    public: ClassVar[bool] = False
    """Whether its text may leave a device, as ``fedclient.outside`` says."""


class SettingsError(ClientError):
    """Settings of local training that cannot be followed."""


class StateLost(ClientError):
    """A client was counted with a state that is no longer here."""

    public = True


class StateUnreadable(StateLost):
    """The file of a client's state cannot be read; the text names it."""

    public = False


class NoExamples(ClientError):
    """A client that is to train and has nothing to train on: its update of 0 would count as one that agrees."""

    public = True

    def __init__(self) -> None:
        super().__init__("no training examples: give it data, or leave it out of the federation")


class UnsteadyModel(ClientError):
    """A model whose steps change in a way that only Python knows of."""


class NotApproved(ClientError):
    """Work that was not approved at this place, or not in this form; nothing of it runs."""

    public = True


class BeyondLimits(ClientError):
    """Work that needs more than the owner of this place gives, by a field of ``site.yaml``."""

    public = True

    def __init__(self, what: str, field: str, most: int) -> None:
        super().__init__(
            f"{what}, and the device gives {most:,} ({field} in site.yaml): ask for less, or its owner for more"
        )


class StageFailed(ClientError):
    """Work that raised an error in a stage; ``outside`` is what of it may leave a device."""

    def __init__(self, stage: str, error: Exception) -> None:
        (self.kind, text), self.outside = inside(error), outside(error)
        self.stage = one_line(stage, LONGEST)
        super().__init__(text)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Name the stage of whatever error is raised inside; the innermost name stays."""
    try:
        yield
    except StageFailed:
        raise
    except Exception as error:
        raise StageFailed(name, error) from error
