"""What others write is data: ids and names of theirs must be plain, all else becomes one printable line.

Each decoder asks this file where bytes become values, so that nothing behind it can forget to.
"""

from __future__ import annotations

import unicodedata

LONGEST_TEXT = 500
"""Characters of a text for a person."""
LONGEST_ID = 200
"""Bytes of a request's id, a run's id, a client's name."""
MARKS = 3
"""Accents on one letter: more of them would be drawn over the lines around it."""
BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""What counts as printable and shows nothing."""


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
    return char.isprintable() and char not in BLANK


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
