"""Whom a run waits for is told in time and not too often, and patience follows the rounds."""

from __future__ import annotations

import pytest

from hansa.fedserver.waiting import Tempo, Vigil, patience


class Watched:
    """A vigil, its clock, and what it says."""

    def __init__(self) -> None:
        self.now, self.said = 0.0, list[tuple[float, str]]()
        self.vigil = Vigil(
            clock=lambda: self.now, say=lambda text: self.said.append((self.now, text)), doing=lambda name: ""
        )

    def request(self, seconds: int, kind: str = "train") -> list[tuple[float, str]]:
        """Let a request wait for somebody for so long, with a look each second; return what was said from its begin."""
        begun, before = self.now, len(self.said)
        self.vigil.begin(kind)
        for _ in range(seconds):
            self.vigil.look("round 5", ["riga", "bergen"])
            self.now += 1
        assert self.vigil.end() == seconds
        return [(at - begun, text) for at, text in self.said[before:]]


def test_whom_a_request_waits_for_is_told_after_a_while_and_at_doubling_intervals():
    there = Watched()
    assert there.request(10) == []
    assert there.request(100) == [(at, "round 5 waits for bergen, riga") for at in (30, 60)]
    assert there.request(12, "evaluate") == [(10, "round 5 waits for bergen, riga")]


def test_requests_that_always_take_long_are_no_news():
    there = Watched()
    assert [at for at, _ in there.request(100)] == [10, 20, 40, 80]
    assert there.request(120) == [] and there.request(250) == []


def test_of_many_some_are_named_with_what_they_do():
    there = Watched()
    there.vigil.doing = "working 12 s, {}".format
    there.vigil.begin("train")
    there.now = 11
    there.vigil.look("the app", (str(n) for n in range(9)))
    assert there.said[0][1] == (
        "the app waits for 0 (working 12 s, 0), 1 (working 12 s, 1), 2 (working 12 s, 2) and 6 more"
    )


def test_those_who_follow_are_told_a_running_mean():
    told: list[float] = []
    tempo = Tempo(followers=[told.append, lambda usual: told.append(patience(usual))])
    for seconds in (10, 20, 20):
        tempo.over(seconds)
    assert told == pytest.approx([10, 40, 13, 49, 15.1, 55.3])
