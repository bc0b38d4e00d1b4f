"""Settings that come over the wire, and what a place adds: it runs only code that it has itself."""

from __future__ import annotations

import re
import shlex

from hansa.conf.components import PARTS, is_file
from hansa.conf.compose import own_code
from hansa.conf.errors import ConfigError, WrongValue
from hansa.conf.parts import SITE

PLAIN = re.compile(r"[a-z_]+(\.[a-z_]+)*=[^$]*")
"""A setting and its value, without deletions, additions or interpolations, which could read this place's secrets."""


def words(wire: str, site: str) -> list[str]:
    """Join a run's settings, as sent, with those of this place, both as in a command line.

    What is a place's own (paths, the device) counts only from ``site``; so does code: where the run names a file, the
    place names its own copy, as in ``task=/path/mine.py:MyTask``. Raises ConfigError.
    """
    ours = _split(site)
    for word in ours:
        if _key(word) not in SITE and not is_file(word):
            raise WrongValue(
                f"{word!r} is not a place's own setting: it sets {', '.join(sorted(SITE))}, or names a file."
            )
    code = {_key(word) for word in ours if is_file(word)}
    theirs = [word for word in sent(wire) if _key(word) not in SITE | code]
    for word in theirs:
        if _key(word) in PARTS and is_file(word):
            raise ConfigError(
                f"the run uses {word}, a file: approve your own copy by {_key(word)}=PATH:CLASS as site setting."
            )
    return [*theirs, *own_code(ours)]


def sent(wire: str) -> list[str]:
    """Return the words of a run that may come over the wire; raises WrongValue for any other."""
    words = _split(wire)
    for word in words:
        if "{" in word and any(f"{own}.".startswith(f"{_key(word)}.") for own in SITE):
            raise WrongValue(
                f"{word!r} came with the run: it could set what is this place's own; send single settings."
            )
        if not PLAIN.fullmatch(word) or word.startswith("hydra") or "_target_" in word:
            raise WrongValue(f"{word!r} came with the run: only plain settings, name=value, may come over the wire.")
    return words


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as error:
        raise WrongValue(f"the settings {line!r} cannot be read ({error}): close every quote.") from None


def _key(word: str) -> str:
    return word.partition("=")[0]
