"""What can be wrong in what a person asks for.

ConfigError
├── UnknownSetting   an override of something that does not exist; names what is nearest
├── WrongValue       a value that a setting cannot have
│   └── NotTaken     a setting that came with a run, and that no place takes from it
├── CannotLoad       a task or strategy of one's own that is missing, does not import, or lacks a part
├── RunsFailed       runs of a sweep that ended with an error; the others are done
└── NotEveryone      a run on a link that is done, and clients that are required were counted in none of its rounds
"""

from __future__ import annotations


class ConfigError(Exception):
    """The root: every message says what, where, and the remedy."""


class UnknownSetting(ConfigError):
    """An override of something that does not exist."""


class WrongValue(ConfigError):
    """A value that a setting cannot have."""


class NotTaken(WrongValue):
    """A setting that came with a run, and that no place takes from it. The text quotes nothing but what came."""

    public = True


class CannotLoad(ConfigError):
    """A task or strategy of one's own that cannot be used."""


class RunsFailed(ConfigError):
    """Runs of a sweep ended with an error."""


class NotEveryone(ConfigError):
    """A run is done, and clients that are required were counted in none of its rounds."""

    exit_code = 4


def told(error: Exception) -> str:
    """Write an error in one line: Hansa's own as they are, others with their type and where to see more."""
    text = " ".join(str(error).split())
    if any(
        base.__module__.startswith("hansa.") and base.__module__.endswith(".errors") for base in type(error).__mro__
    ):
        return text
    return f"{type(error).__name__}: {text} (repeat the command with --debug to see where)."
