"""What of an error may leave a device: of what type it is and where it arose; its text may quote the data.

A type whose attribute ``public`` is true says that its texts hold nothing of the place, whatever its data are: only
what the coordinator said or knows, and names of tensors and of approved files. They leave where Hansa raised them.
"""

from __future__ import annotations

import os
import re
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import NamedTuple, TypeAlias

from hansa.fedlink.texts import one_line

OWN = "hansa_local_"
"""How the names of modules begin that come from a person's own files."""
HANSA = "hansa."
FILE = re.compile(r"[\w-]{1,80}\.pyx?")
LONGEST_KIND = 80
KEPT = "its text is in the device's log"
Frames: TypeAlias = list[tuple[FrameType, int]]


class Told(NamedTuple):
    """What is told of an error: the name of its type, and a text of one line."""

    kind: str
    text: str


def inside(error: BaseException) -> Told:
    """Return what is told where an error arose: all. Hansa's own errors say where; this raises nothing."""
    try:
        hansas = any(str(base.__module__).startswith(HANSA) for base in type(error).__mro__)
        own = [one for one in traceback.walk_tb(error.__traceback__) if _is_own(one[0]) and not hansas]
        line = _where(own)
        return Told(type(error).__name__[:LONGEST_KIND], f"{text_of(error)}{f' ({line})' if line else ''}")
    except Exception:  # noqa: BLE001 - an error may be of any type, with attributes that raise
        return Told("Exception", "no message")


def outside(error: BaseException) -> Told:
    """Return what of an error may leave a device; this raises nothing."""
    try:
        frames, kind = list(traceback.walk_tb(error.__traceback__)), _kind(type(error))
        if _public(error, frames):
            return Told(kind, text_of(error))
        where = _where(frames)
        return Told(kind, f"{where} ({KEPT})" if where else KEPT)
    except Exception:  # noqa: BLE001 - as above
        return Told("Exception", KEPT)


def reason(error: Exception) -> str:
    """Return in one line why a device cannot do a request; of what the system refused, its words without the file."""
    if _public(error, list(traceback.walk_tb(error.__traceback__))):
        return text_of(error)
    kind, text = outside(error)
    if isinstance(error, OSError) and error.errno is not None:
        text = os.strerror(error.errno)
    return f"{kind}: {text}"


def text_of(error: BaseException) -> str:
    """Return the first line of an error's text."""
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # noqa: BLE001 - a person's own type may write itself in any way
        lines = []
    return one_line(lines[0]) if lines else "no message"


def _where(frames: Frames) -> str:
    """Name the innermost line of a person's own file, or of any; code without a plain file name is passed over."""
    for frame, line in [*(one for one in reversed(frames) if _is_own(one[0])), *reversed(frames)]:
        name = Path(frame.f_code.co_filename).name
        if FILE.fullmatch(name):
            return f"{name}, line {line}"
    return ""


def _is_own(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith(OWN)


def _public(error: BaseException, frames: Frames) -> bool:
    """Whether Hansa itself raised an error of a type of its own that says so: a task could raise it with any text."""
    ours = str(type(error).__module__).startswith(HANSA) and getattr(type(error), "public", False) is True
    return ours and bool(frames) and str(frames[-1][0].f_globals.get("__package__")).startswith(HANSA)


def _kind(kind: type) -> str:
    """Name the nearest type that stands in a module under its name: others may be made, and named, from the data."""
    for base in kind.__mro__:
        found: object = sys.modules.get(base.__module__)
        for part in base.__qualname__.split("."):
            found = getattr(found, part, None)
        if found is base and base.__name__.isidentifier() and len(base.__name__) <= LONGEST_KIND:
            return base.__name__
    return "Exception"
