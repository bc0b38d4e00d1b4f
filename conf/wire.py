"""Settings that come over the wire, and what a place adds: it runs only code that it has itself.

A coordinator may choose among what ships with Hansa, or is installed, by its name; it may set plain values. A name is
compared word for word before Hydra sees it, for Hydra takes a name for a path, and a path may lead anywhere.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Collection

from hansa.conf.components import PARTS, installed, is_file
from hansa.conf.compose import own_code
from hansa.conf.errors import NotTaken, WrongValue
from hansa.conf.parts import GROUPS, SITE, shipped
from hansa.conf.schema import RunSettings
from hansa.fedlink.protocol.limits import LONGEST_HEAD
from hansa.fedlink.texts import one_line, plain

PLAIN = re.compile(r"[a-z_]+(\.[a-z_]+)*=[^$]*")
"""A setting and its value, without deletions, additions or interpolations, which could read this place's secrets."""
SHOWN = 200
"""Characters of a refused word that are shown."""
KNOWN = frozenset(field.name for field in dataclasses.fields(RunSettings))


def words(wire: str, site: str) -> list[str]:
    """Join a run's settings, as sent, with those of this place, both as in a command line.

    What is a place's own (paths, the device) counts only from ``site``; so does code: where the run names a file, the
    place names its own copy, as in ``task=/path/mine.py:MyTask``. Raises ConfigError.
    """
    try:
        ours = shlex.split(site)
    except ValueError as error:
        raise WrongValue(f"the place's settings {site!r} cannot be read ({error}): close every quote.") from None
    code = {_key(word) for word in ours if is_code(word)}
    theirs = [word for word in sent(wire) if _key(word) not in SITE | code]
    for word in theirs:
        if is_code(word):
            raise NotTaken(
                f"the run uses {_told(word)}, a file: approve your own copy by {_key(word)}=PATH:CLASS as site setting."
            )
    return own_code([*theirs, *ours])


def sent(wire: str) -> list[str]:
    """Return the words of a run that may come over the wire; raises NotTaken for any other."""
    try:
        words = shlex.split(wire)
    except ValueError as error:
        raise NotTaken(f"the settings {_told(wire)} cannot be read ({error}): close every quote.") from None
    for word in words:
        key, _, value = word.partition("=")
        plainly = plain(word, LONGEST_HEAD) and PLAIN.fullmatch(word) and "_target_" not in word
        if not plainly or key.partition(".")[0] not in KNOWN:
            raise NotTaken(f"{_told(word)} came with the run: only plain settings, name=value, may come over the wire.")
        if key in GROUPS and not is_code(word) and value not in choices(key):
            raise NotTaken(
                f"{_told(word)} came with the run: {key} is chosen by the name of what ships with Hansa or is "
                "installed; send other settings one by one."
            )
    return words


def _told(word: str) -> str:
    """Quote what came over the wire, or its beginning."""
    return repr(one_line(word, SHOWN))


def choices(group: str) -> Collection[str]:
    """Return the names by which a run may choose of a group."""
    return [*shipped(group), *installed()] if group == "strategy" else shipped(group)


def check_places(wire: str, site: str, own: Collection[str]) -> None:
    """Refuse a run's word for what is this place's own, and a word of the place for anything else.

    ``own`` are the settings of the chosen components that are each place's own, beside those of SITE.
    """
    for word in sent(wire):
        if found := [name for name in own if sets(word, name) or ("{" in word and name.startswith(f"{_key(word)}."))]:
            raise NotTaken(
                f"{_told(word)} came with the run: {found[0]} is each place's own: set it there as site setting."
            )
    for word in shlex.split(site):
        if _key(word) not in SITE | set(own) and not is_code(word):
            raise WrongValue(
                f"{word!r} is not a place's own setting: it sets {', '.join(sorted(SITE | set(own)))}, or names a file."
            )


def sets(word: str, name: str) -> bool:
    """Whether a word sets a setting, or what lies in it."""
    return f"{_key(word)}.".startswith(f"{name}.")


def is_code(word: str) -> bool:
    """Whether a word chooses a component in a file of one's own."""
    return _key(word) in PARTS and is_file(word)


def _key(word: str) -> str:
    return word.partition("=")[0]
