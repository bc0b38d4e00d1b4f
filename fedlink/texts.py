"""What others write is data: ids and names of theirs must be plain, all else becomes one printable line.

Each decoder asks this file where bytes become values, so that nothing behind it can forget to.
"""

from __future__ import annotations

import re
import unicodedata

LONGEST_TEXT = 500
"""Characters of a text for a person."""
LONGEST_ID = 200
"""Bytes of a request's id, a run's id, a client's name."""
MARKS = 3
"""Accents on one letter: more of them would be drawn over the lines around it."""
BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""What is seen as nothing, although Unicode counts it among letters and signs."""


def one_line(text: str, longest: int = LONGEST_TEXT) -> str:
    r"""Return a text as one printable line that is not too long, each gap in it a single space.

    >>> one_line("a\nb\x1b[31m", 6)
    'a b [3'
    """
    return " ".join(_readable(text[:longest]).split())


def plain(text: str, longest: int = LONGEST_ID) -> bool:
    r"""Whether a text has at most so many bytes, all characters visible or a plain space, and no flood of accents.

    >>> plain("Lübeck 2"), plain("a\tb"), plain("a" + 4 * "\u0301"), plain("long", 3)
    (True, False, False, False)
    """
    return len(text) <= longest and text == _readable(text) and len(text.encode()) <= longest


def shows(char: str) -> bool:
    """Whether a character can be seen, or is a plain space."""
    return char.isprintable() and not BLANK.match(char)


def _readable(text: str) -> str:
    """Put a space for each character that shows nothing, and leave accents out that are too many."""
    if text.isascii() and text.isprintable():
        return text
    found, marks = list[str](), 0
    for char in text:
        marks = marks + 1 if unicodedata.category(char) in ("Mn", "Me") else 0
        if marks <= MARKS:
            found.append(char if shows(char) else " ")
    return "".join(found)
