"""Programs in which Python reads other than a person are refused, each with the place and the sign."""

from __future__ import annotations

import pytest

from hansa.fedlink.plain import demand_plain


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("# coding: utf-7\n+AGEAYgBj-\n", "line 1: its encoding is utf-7: save it as utf-8"),
        ("#!/usr/bin/python\n# -*- coding: unicode_escape -*-\n# \\u000aevil()\n", "line 2: its encoding is unicode"),
        ("x = 1  # vim: set fileencoding=latin-1 :\n# coding=cp037\n", "line 2: its encoding is cp037"),
        ("# codingcoding: raw_unicode_escape\n", "line 1: its encoding is raw_unicode_escape"),
        (
            "# a comment\x85evil()\n",
            r"line 1, column 12: U\+0085, a control .*: write '\\x85' for it",
        ),
        ("x = 1\r\n", r"line 1, column 6: U\+000D, .*: save it with Unix line ends"),
        ("x = 1  # \revil()\n", r"line 1, column 10: U\+000D"),
        ("x = 1\n# \u2028evil()\n", r"line 2, column 3: U\+2028, LINE SEPARATOR"),
        ("x = 1\n# \u2029evil()\n", r"U\+2029, PARAGRAPH SEPARATOR"),
        ("x = 1\n\x0cy = 2\n", r"line 2, column 1: U\+000C"),
        ("x = 1\n# \x0by = 2\n", r"U\+000B"),
        ("s = '\u202e'\n", r"U\+202E, RIGHT-TO-LEFT OVERRIDE"),
        ("s = '\u2066'\n", r"U\+2066, LEFT-TO-RIGHT ISOLATE"),
        ("s = '\u200b'\n", r"U\+200B, ZERO WIDTH SPACE"),
        ("s = '\u00a0'\n", r"U\+00A0, NO-BREAK SPACE"),
        ("\u3164 = evil()\n", r"U\+3164, HANGUL FILLER"),
        ("s = 'a\ufe0f'\n", r"U\+FE0F, VARIATION SELECTOR-16"),
        ("s = '\U000e0041'\n", r"U\+E0041, TAG LATIN CAPITAL LETTER A"),
        ("\ufeffx = 1\n", r"line 1, column 1: U\+FEFF, .*: save it as UTF-8 without a byte order mark"),
        ("s = '\x1b[2J'\n", r"U\+001B"),
        ("s = '\0'\n", r"U\+0000"),
        ("s = '\ud800'\n", r"U\+D800"),
        (b"x = 1\n# \xff\n", "line 2: byte 0xff is not UTF-8: save it as UTF-8"),
    ],
)
def test_a_program_that_runs_otherwise_than_it_is_shown_is_refused(text, told):
    with pytest.raises(ValueError, match=told) as error:
        demand_plain(text, "mine.py", ValueError)
    assert str(error.value).startswith("mine.py, ") and str(error.value).isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "",
        '# -*- coding: utf-8 -*-\n"""Lübeck, 鹿児島"""\n\tx = 1\n',
        "# vim: set fileencoding=UTF8 :\n",
        "x = 1\ny = 2\n# coding: latin-1, on a line where Python does not look for it\n",
    ],
)
def test_a_program_that_is_what_it_looks_like_is_taken(text):
    assert demand_plain(text.encode(), "mine.py", ValueError) == text
