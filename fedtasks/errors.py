"""What can go wrong in a task, and what a person can do about it.

TaskError
├── OptionError     an option of a task that makes no sense
├── UnknownClient   a client of which the task has no data
├── DataError       a file or folder of data that is missing or is not what it should be; says where in it
├── MetricError     outputs or targets that a metric cannot count
└── QueryError      sums from which a federated statistic cannot be computed
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

SHOWN = 8
"""Names that a message lists before it says how many more there are."""


class TaskError(Exception):
    """The root: every message is one line and says what, where, and the remedy."""


class OptionError(TaskError):
    """An option that makes no sense."""


class UnknownClient(TaskError):
    """A name that is none of the task's clients."""

    def __init__(self, client: str, names: Sequence[str]) -> None:
        super().__init__(client, names)

    def __str__(self) -> str:
        client, names = self.args
        return f"there is no client {client!r} in this task: its clients are {listed(names).rstrip('.')}."


class DataError(TaskError):
    """Data that cannot be read; ``line`` counts from 1 where the file is a text."""

    def __init__(self, path: Path | str, text: str, line: int | None = None) -> None:
        super().__init__(path, text, line)

    def __str__(self) -> str:
        path, text, line = self.args
        where = str(path) if line is None else f"{path}, line {line}"
        return " ".join(f"{where}: {text}".split())


class MetricError(TaskError):
    """Outputs or targets that a metric cannot count."""


class QueryError(TaskError):
    """Sums from which a statistic cannot be computed."""


def listed(names: Sequence[str]) -> str:
    """Write names in one line, however many there are.

    >>> listed(["hungary", "cleveland"])
    'hungary, cleveland'
    """
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (", ".join(names[:SHOWN]) or "none") + more
