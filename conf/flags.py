"""The words of ``hansa simulate`` before Hydra sees them, which would answer a slip with its own usage."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from hydra._internal.utils import get_args_parser

from hansa.conf.errors import UnknownSetting, WrongValue


def flags_first(words: Sequence[str]) -> list[str]:
    """Put overrides behind all else: Hydra's parser takes them in one piece only.

    >>> flags_first(["seed=1,2", "-m", "rounds=3"])
    ['-m', 'seed=1,2', 'rounds=3']
    """
    last = overrides(words)
    return [*(word for word in words if word not in last), *last]


def overrides(words: Sequence[str]) -> list[str]:
    """Return the words that set, add or take away a setting."""
    return [word for word in words if word.startswith("~") or ("=" in word and not word.startswith("-"))]


def demand_settings(words: Sequence[str]) -> None:
    """Raise UnknownSetting or WrongValue for what is neither an option nor a setting."""
    parser = get_args_parser()
    parser.allow_abbrev = parser.exit_on_error = False
    try:
        known, unknown = parser.parse_known_args(list(words))
    except argparse.ArgumentError as error:
        raise WrongValue(f"{error}: see hansa simulate --help.") from None
    rest = [word for word in known.overrides if word.startswith("=") or word not in overrides(words)]
    if unknown:
        meant = _meant([unknown[0].lstrip("-"), *rest])
        raise UnknownSetting(f"{unknown[0]!r} is no option: settings have no dashes, as in {meant}.")
    if rest:
        raise UnknownSetting(f"{' '.join(rest)!r} is no setting: write name=value, as in {_meant(rest)}.")


def _meant(words: Sequence[str]) -> str:
    name, _, value = words[0].partition("=")
    return f"{name or 'rounds'}={value or ' '.join(words[1:2]) or 'value'}"
