"""What can be wrong in what a person asks for.

ConfigError
├── UnknownSetting   an override of something that does not exist; names what is nearest
├── WrongValue       a value that a setting cannot have
└── CannotLoad       a task or strategy of one's own that is missing, does not import, or lacks a part
"""

from __future__ import annotations


class ConfigError(Exception):
    """The root: every message says what, where, and the remedy."""


class UnknownSetting(ConfigError):
    """An override of something that does not exist."""


class WrongValue(ConfigError):
    """A value that a setting cannot have."""


class CannotLoad(ConfigError):
    """A task or strategy of one's own that cannot be used."""
