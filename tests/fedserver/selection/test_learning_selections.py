"""Selections that learn from what clients tell: power-of-choice and Oort, against their papers' equations."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from hansa.fedserver.errors import SelectionError
from hansa.fedserver.policy import CohortPolicy
from hansa.fedserver.selection import Oort, PowerOfChoice, Present, Seen
from hansa.strategies import RoundLost
from tests.draws import NAMES, Some, chi_squared, drawing, drawn

LOSSES = {name: (float(i), 10.0) for i, name in enumerate(NAMES)}


def test_of_the_candidates_those_with_the_highest_loss_take_part():
    for round in range(1, 20):
        draw = drawing(round=round, size=3)
        names, _, asked = drawn(PowerOfChoice(candidates=6), draw, losses=LOSSES)
        assert asked == [draw.ctx.sample(NAMES, 6)]
        assert names == tuple(sorted(asked[0])[-3:]), "the loss rises with the name"


def test_candidates_are_twice_as_many_where_nothing_is_said_and_who_does_not_answer_is_left_out():
    names, _, asked = drawn(PowerOfChoice(), drawing(size=3, over=0.3), losses=LOSSES)
    assert len(asked[0]) == 8 and len(names) == 4
    three = dict(list(LOSSES.items())[:3])
    assert set(drawn(PowerOfChoice(candidates=12), drawing(size=5), losses=three)[0]) == set(three)


def test_without_asking_the_last_losses_count_and_the_unknown_come_first():
    selection = PowerOfChoice(candidates=12, ask=False)
    seen = {name: Seen(loss=loss) for name, (loss, _) in LOSSES.items()}
    assert drawn(selection, drawing(size=2, seen=seen))[0] == ("c10", "c11")
    seen |= {"c03": Seen(round=1)}
    del seen["c05"]
    names, _, asked = drawn(selection, drawing(size=3, seen=seen))
    assert names == ("c03", "c05", "c11") and asked == []
    assert selection.learns and not selection.asks
    assert not PowerOfChoice().learns and PowerOfChoice().asks


def test_equal_losses_are_put_in_order_by_a_key():
    selection, count = PowerOfChoice(candidates=12, ask=False), Counter()
    for round in range(1200):
        count.update(drawn(selection, drawing(round=round, size=1))[0])
    assert chi_squared([count[name] for name in NAMES], 100) < 31.3, "chi squared, 11 degrees, 0.1 %"


SEEN = {
    "c00": Seen(round=1, loss=2.0, examples=10.0),
    "c01": Seen(round=4, loss=1.0, examples=10.0),
    "c02": Seen(round=4, loss=0.5, examples=10.0, seconds=20.0),
}


def test_oorts_utilities_by_hand():
    gain_N = np.minimum([20.0, 10.0, 5.0], np.percentile([20.0, 10.0, 5.0], 95))
    assert gain_N[0] == pytest.approx(19.0), "cut at 10 + 0.9 (20 - 10)"
    bonus_N = np.sqrt(0.1 * math.log(5) / np.array([1, 4, 4]))
    plain_N = gain_N / 19.0 + bonus_N
    assert Oort().utilities(SEEN, 5) == pytest.approx(plain_N), "the median of one time is that time"
    assert Oort(seconds=5.0).utilities(SEEN, 5) == pytest.approx(plain_N * [1, 1, (5 / 20) ** 2])
    assert Oort(seconds=5.0, penalty=0.0).utilities(SEEN, 5) == pytest.approx(plain_N)
    fast = SEEN | {"c01": Seen(round=4, loss=1.0, examples=10.0, seconds=10.0)}
    assert Oort(penalty=1.0).utilities(fast, 5) == pytest.approx(plain_N * [1, 1, 15 / 20])
    assert Oort().utilities({"c00": Seen(loss=0.0)}, 1).tolist() == [0.0]


def test_the_share_of_new_clients_falls():
    assert [Oort().epsilon(r) for r in (1, 2, 500)] == pytest.approx([0.9, 0.882, 0.2])


def test_new_and_known_clients_are_drawn_by_their_shares():
    seen = {name: Seen(round=1, loss=1.0, examples=1.0) for name in NAMES[:6]}
    for round in range(1, 30):
        names, _, asked = drawn(Oort(explore=0.5, decay=1.0), drawing(round=round, size=4, seen=seen), losses=LOSSES)
        assert asked == [names], "the drawn tell their losses"
        assert sum(name in seen for name in names) == 2
    away = Some(away=set(NAMES[6:]))
    assert len(drawn(Oort(ask=False), drawing(away, size=4, seen=seen))[0]) == 4, "nobody new is there"
    fewer = Some(away=set(NAMES[:5]))
    assert len(drawn(Oort(explore=0.2), drawing(fewer, size=4, seen=seen), losses=LOSSES)[0]) == 4


def test_new_clients_are_drawn_uniformly():
    seen, count = {name: Seen(loss=1.0) for name in NAMES[:4]}, Counter()
    for round in range(800):
        count.update(drawn(Oort(explore=1.0, least=1.0, ask=False), drawing(round=round, size=2, seen=seen))[0])
    assert count.keys() == set(NAMES[4:]) and chi_squared(count.values(), 200) < 24.3, "7 degrees"


def test_only_those_near_the_best_are_exploited_in_proportion_to_utility():
    seen = {"c00": Seen(loss=1.0), "c01": Seen(loss=0.96), "c02": Seen(loss=0.5), "c03": Seen(loss=0.97)}
    oort, count = Oort(explore=0.0, least=0.0, ask=False), Counter()
    for _round in range(1, 400):
        count.update(drawn(oort, drawing(size=1, round=_round, seen=seen))[0])
    assert set(count) <= {"c00", "c01", "c03"} | {"c02"} and count["c02"] == 0
    assert min(count[name] for name in ("c00", "c01", "c03")) > 100


def test_who_told_of_no_examples_is_not_drawn_again():
    """Its loss is 0, but it was never counted, so that its bonus for being stale would grow."""
    seen = {"c00": Seen(loss=0.0, examples=0.0)} | {name: Seen(round=90, loss=0.1, examples=9.0) for name in NAMES[1:]}
    for _round in range(100, 140):
        names, _, _ = drawn(Oort(explore=0.0, least=0.0, ask=False), drawing(size=3, round=_round, seen=seen))
        assert len(names) == 3 and "c00" not in names


def test_a_query_that_nobody_answers_leaves_the_drawn():
    flow = Oort().draw(None, drawing(size=2))
    asked = next(flow).to
    with pytest.raises(StopIteration) as done:
        flow.throw(RoundLost("nobody"))
    assert done.value.value == (asked, None)


@pytest.mark.parametrize(
    ("selection", "cohort", "told"),
    [
        (PowerOfChoice(), {}, r"selection=power_of_choice: cohort.size is empty"),
        (PowerOfChoice(candidates=3), {"size": 4}, r"selection.candidates=3: 4 clients are drawn from them"),
        (Oort(), {}, r"selection=oort: cohort.size is empty"),
        (Oort(explore=0.1), {"size": 2}, r"selection: explore=0.1, least=0.2, decay=0.98: needs"),
        (Oort(decay=0.0), {"size": 2}, r"decay=0.0: needs"),
        (Oort(seconds=0.0), {"size": 2}, r"penalty=2.0, seconds=0.0: needs"),
        (Oort(penalty=-1.0), {"size": 2}, r"penalty=-1.0, seconds=None: needs"),
    ],
)
def test_figures_that_make_no_sense_are_refused(selection, cohort, told):
    with pytest.raises(SelectionError, match=told):
        selection.check(CohortPolicy(**cohort))


def test_nothing_can_be_counted_on_where_data_decides():
    for selection in (PowerOfChoice(candidates=4), Oort()):
        selection.check(CohortPolicy(size=2))
        assert selection.start(NAMES) is None is selection.sampling(drawing(Present(NAMES), size=2))
