"""When a request is over: hand-made sequences of events, and laws over any."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.fedserver.errors import ServerError
from hansa.fedserver.policy import FLOOR, LEAST, TIMES, CohortPolicy, Pace, Wait

NAMES = tuple(f"vessel-{i}" for i in range(10))


def begun(now: float = 100.0, **settings) -> Wait:
    wait = Wait(kind="train", **settings)
    wait.begin(NAMES, now)
    return wait


def answer(wait: Wait, names, now: float) -> None:
    for name in names:
        wait.answered(name, now)


def test_by_default_everybody_is_waited_for_however_long_it_takes():
    wait = begun()
    answer(wait, NAMES[:9], 101.0)
    assert wait.wake() == math.inf and wait.cut(1e9) == {} and not wait.over
    wait.failed(NAMES[9], "no power")
    assert wait.over and wait.counted == list(NAMES[:9]) and wait.refused == {NAMES[9]: "no power"}


def test_the_deadline_names_whom_was_waited_for():
    wait = begun(deadline=5.0)
    answer(wait, NAMES[:8], 102.0)
    assert wait.wake() == 105.0 and wait.cut(104.9) == {}
    why = "late: no answer within cohort.deadline=5.0, which is over for vessel-8, vessel-9"
    assert wait.cut(105.0) == {NAMES[8]: why, NAMES[9]: why} and wait.over
    wait.answered(NAMES[8], 106.0)
    assert len(wait.counted) == 8, "what comes later is dropped"


def test_with_over_selection_the_rest_is_cancelled_once_enough_have_answered():
    wait = begun(wanted=7)
    answer(wait, NAMES[:6], 101.0)
    wait.failed(NAMES[6], "no power")
    assert wait.cut(101.0) == {}
    wait.answered(NAMES[7], 103.0)
    assert set(wait.cut(103.0)) == {NAMES[8], NAMES[9]} and wait.over


@pytest.mark.parametrize(("taken", "grace"), [(20.0, 10.0), (0.1, LEAST)])
def test_the_grace_after_a_quorum_follows_from_the_time_that_it_took(taken, grace):
    wait = begun(quorum=0.8)
    answer(wait, NAMES[:7], 100.0 + taken / 2)
    assert wait.wake() == math.inf
    wait.answered(NAMES[7], 100.0 + taken)
    assert wait.wake() == pytest.approx(100.0 + taken + grace)
    wait.answered(NAMES[8], wait.wake() - 0.01)
    assert list(wait.cut(wait.wake())) == [NAMES[9]] and "8 answers are the quorum" in wait.refused[NAMES[9]]


def test_a_quorum_is_never_below_the_floor_of_survivors_and_a_deadline_ends_a_grace():
    wait = begun(quorum=0.1, least=5, deadline=11.0)
    answer(wait, NAMES[:4], 110.0)
    assert wait.wake() == 111.0
    wait.answered(NAMES[4], 110.0)
    assert wait.wake() == 111.0 and len(wait.cut(111.0)) == 5


def test_a_client_has_a_deadline_of_its_own_from_its_usual_speed():
    pace = Pace()
    for name in NAMES:
        pace.note("train", name, 1.0 if name == NAMES[0] else 100.0)
    wait = begun(quorum=0.9, pace=pace)
    assert wait.wake() == 100.0 + TIMES * 1.0 + FLOOR
    assert list(wait.cut(wait.wake())) == [NAMES[0]] and not wait.over
    assert begun(quorum=0.9, pace=pace).wake() == pytest.approx(100.0 + TIMES * (TIMES + FLOOR) + FLOOR)
    assert begun(pace=pace).wake() == math.inf, "only below quorum=1"


def test_usual_is_a_running_mean_by_kind_of_request():
    pace = Pace()
    assert pace.allowed("train", ["riga"]) == {"riga": math.inf}
    pace.note("train", "riga", 10.0)
    pace.note("train", "riga", 20.0)
    assert pace.allowed("train", ["riga"])["riga"] == pytest.approx(TIMES * 13.0 + FLOOR)
    assert pace.allowed("evaluate", ["riga"]) == {"riga": math.inf}


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), st.booleans(), st.floats(0, 50)), max_size=30),
    st.floats(0.1, 1.0),
    st.integers(1, 10),
    st.none() | st.floats(0.1, 100.0),
)
def test_everybody_ends_once_and_waking_in_time_ends_every_request(events, quorum, wanted, deadline):
    wait, now = begun(0.0, quorum=quorum, wanted=wanted, deadline=deadline), 0.0
    for name, answers, passed in events:
        now += passed
        wait.cut(now)
        if answers:
            wait.answered(name, now)
        else:
            wait.failed(name, "no power")
    while not wait.over and (wake := wait.wake()) < math.inf:
        assert wake > now or wait.cut(now)
        now = max(now, wake)
        wait.cut(now)
    wait.cut(now)
    ended = [*wait.counted, *wait.refused]
    assert len(ended) == len(set(ended)) and len(wait.counted) <= wanted
    assert wait.over == (set(ended) == set(NAMES))
    assert wait.over or (deadline is None and len(wait.counted) < max(1, math.ceil(quorum * wanted)))


@pytest.mark.parametrize(("size", "over", "drawn"), [(10, 0.3, 13), (100, 0.1, 110), (3, 0.1, 4), (5, 0.0, 5)])
def test_a_share_more_is_drawn(size, over, drawn):
    policy = CohortPolicy(size=size, over=over)
    assert policy.drawn == drawn and policy.expected(drawn) == size and policy.expected(2) == 2


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"over": -0.1}, r"cohort.over=-0.1: it is a share of size"),
        ({"over": 0.3}, r"set cohort.size, or leave over out"),
        ({"quorum": 0.0}, r"cohort.quorum=0.0: it is a share above 0, and 1 at most"),
        ({"quorum": 1.1}, r"cohort.quorum=1.1"),
    ],
)
def test_what_cannot_be_is_refused(settings, told):
    with pytest.raises(ServerError, match=told):
        CohortPolicy(**settings)
