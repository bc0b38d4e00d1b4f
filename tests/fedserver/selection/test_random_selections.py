"""Selections that draw at random: uniform, Poisson, weighted, by tag."""

from __future__ import annotations

import time
from collections import Counter

import numpy as np
import pytest

from hansa.fedserver.errors import SelectionError
from hansa.fedserver.policy import CohortPolicy
from hansa.fedserver.selection import ByTag, Poisson, Present, Sampling, Uniform, Weighted
from hansa.fedserver.selection.proportional import proportional
from hansa.fedtasks.names import names as numbered
from hansa.strategies import RoundLost
from tests.draws import NAMES, Some, answer, chi_squared, drawing, drawn


def test_uniform_is_the_contexts_sample_and_without_a_size_everyone():
    draw = drawing(Present(NAMES), size=5, over=0.2)
    assert drawn(Uniform(), draw) == (draw.ctx.sample(NAMES, 6), None, [])
    assert drawn(Uniform(), drawing(Present(NAMES)))[0] is NAMES
    assert drawn(Uniform(), drawing(Present(NAMES), size=12))[0] is NAMES
    assert Uniform().sampling(drawing(Present(NAMES), size=3)) == Sampling("uniform without replacement", 0.25)
    assert Uniform().sampling(drawing(Present(NAMES))).rate == 1.0
    assert Uniform().sampling(drawing(Some(away={"c00"}), size=3)).rate is None, "nobody counts who is there"


def test_present_knows_its_names():
    there = Present(numbered(1_000_000))
    assert there.here("client-999999") and not there.here("client-9") and there.all() is there.names


def test_poisson_takes_each_with_the_rate_and_independently():
    counts, sizes, both = Counter(), [], 0
    for round in range(1, 2001):
        names = taken(drawing(round=round, size=3))
        counts.update(names)
        sizes.append(len(names))
        both += {"c00", "c01"} <= set(names)
        assert list(names) == sorted(set(names))
    assert chi_squared([counts[name] for name in NAMES], 2000 / 4) * 4 / 3 < 32.9, "chi squared, 12 degrees, 0.1 %"
    assert np.mean(sizes) == pytest.approx(3.0, abs=0.12) and np.var(sizes) == pytest.approx(2.25, rel=0.1)
    assert both == pytest.approx(2000 / 16, abs=35)
    assert Poisson().sampling(drawing(Present(NAMES), size=3)) == Sampling("poisson", 0.25)


def taken(draw) -> tuple[str, ...]:
    """A Poisson draw; nobody where that loses the round."""
    try:
        return drawn(Poisson(), draw)[0]
    except RoundLost:
        return ()


def test_poisson_is_cut_to_what_a_sum_holds_and_leaves_out_who_is_away():
    assert {len(drawn(Poisson(), drawing(round=r, size=11, max=11))[0]) for r in range(1, 40)} <= {9, 10, 11}
    there = Some(away=set(NAMES[:6]))
    count = Counter(name for r in range(1, 400) for name in drawn(Poisson(), drawing(there, r, size=11))[0])
    assert set(count) == set(NAMES[6:]) and min(count.values()) > 399 * 0.87


def test_an_empty_poisson_draw_loses_the_round():
    lost = [round for round in range(1, 200) if not taken(drawing(round=round, size=1))]
    assert len(lost) == pytest.approx(199 * (11 / 12) ** 12, abs=25)
    with pytest.raises(RoundLost, match=r"a Poisson draw took 0 of 12 clients, fewer than cohort.min=1: raise"):
        drawn(Poisson(), drawing(round=lost[0], size=1))


def test_uniform_and_poisson_of_a_million_take_milliseconds():
    for selection in (Uniform(), Poisson()):
        there, start = Some(numbered(1_000_000)), time.perf_counter()
        draw = drawing(Present(there.names), size=1000)
        assert len(drawn(selection, draw)[0]) == pytest.approx(1000, abs=150)
        assert time.perf_counter() - start < 0.2


def test_weights_are_the_chances_of_being_next():
    rng, weights_N = np.random.default_rng(1), np.array([1.0, 2.0, 5.0, 0.0])
    pairs = Counter(tuple(proportional(rng, weights_N, 2)) for _ in range(8000))
    expected = {(0, 1): 1 / 8 * 2 / 7, (0, 2): 1 / 8 * 5 / 7, (1, 0): 2 / 8 * 1 / 6, (1, 2): 2 / 8 * 5 / 6}
    expected |= {(2, 0): 5 / 8 * 1 / 3, (2, 1): 5 / 8 * 2 / 3}
    assert pairs.keys() == expected.keys()
    assert sum((pairs[p] - 8000 * q) ** 2 / (8000 * q) for p, q in expected.items()) < 20.5, "5 degrees, 0.1 %"
    assert sorted(proportional(rng, weights_N, 4)) == [0, 1, 2]


def test_a_table_gives_weights_and_who_is_not_in_it_is_never_drawn(tmp_path):
    (tmp_path / "weights.csv").write_text("client,weight\nc01,1\nc02,3.5\nc05,0\n")
    selection = Weighted(by="table", table=str(tmp_path / "weights.csv"))
    memory = selection.start(NAMES)
    assert memory == {"c01": 1.0, "c02": 3.5, "c05": 0.0} == selection.start(None)
    assert drawn(selection, drawing(size=3), memory) == (("c01", "c02"), memory, [])
    first = Counter(drawn(selection, drawing(round=r, size=1), memory)[0] for r in range(900))
    assert first[("c01",)] == pytest.approx(200, abs=45) and first[("c02",)] == pytest.approx(700, abs=45)
    with pytest.raises(RoundLost, match="no client that is there has a weight above 0"):
        drawn(selection, drawing(Some(away={"c01", "c02"}), size=1), memory)
    assert not selection.asks and selection.sampling(drawing(Present(NAMES), size=1)) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("client,weight\nc01,1\nbergen,2\n", r"weights.csv, line 3: no client is called 'bergen': nearest are"),
        ("client,weight\nc01,1\nc01,2\n", r"weights.csv, line 3: 'c01' stands in line 2 already"),
        ("client,weight\nc01,much\n", r"weights.csv, line 2: the weight 'much' is no number from 0 on"),
        ("client,weight\nc01,-1\n", r"weights.csv, line 2: the weight '-1'"),
        ("client,weight\nc01,inf\n", r"weights.csv, line 2: the weight 'inf'"),
        ("client,weight\nc01\n", r"weights.csv, line 2: 'c01': write a client, a comma and its weight"),
        ("client,tag\n", r"weights.csv, line 1: the header is 'client,tag': it must be client,weight"),
        ("", r"weights.csv, line 1: the header is ''"),
        (b"\xff\xfe\x00", r"selection.table=.*weights.csv: .*: name a CSV file of text"),
        (None, r"selection.table=.*weights.csv: No such file"),
    ],
)
def test_a_table_that_cannot_be_read_is_told_with_its_line(text, told, tmp_path):
    path = tmp_path / "weights.csv"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SelectionError, match=told):
        Weighted(by="table", table=str(path)).start(NAMES)


def test_a_table_must_be_named():
    with pytest.raises(SelectionError, match=r"selection.by=table: selection.table names no file"):
        Weighted(by="table").start(NAMES)


def test_by_examples_asks_each_client_once_and_again_who_does_not_answer():
    selection, losses = Weighted(), {"c00": (0.5, 10.0), "c01": (0.5, 30.0), "c02": (0.0, 0.0)}
    there = Some(names=NAMES[:4])
    names, memory, asked = drawn(selection, drawing(there, size=2, max=3), selection.start(NAMES), losses)
    assert asked == [("c00", "c01", "c02"), ("c03",)], "no request is larger than a sum"
    assert memory == {"c00": 10.0, "c01": 30.0, "c02": 0.0} and names == ("c00", "c01")
    flow = selection.draw(memory, drawing(there, size=2))
    assert next(flow).to == ("c03",)
    with pytest.raises(StopIteration) as done:
        flow.throw(RoundLost("nobody"))
    assert done.value.value == (("c00", "c01"), memory)
    assert drawn(selection, drawing(Some(names=NAMES[:2]), size=1), memory)[2] == []


TAGS = {"c00": "phone", "c01": "phone", "c02": "phone", "c03": "tablet", "c04": "tablet", "c05": "watch"}


def test_each_tag_has_its_quota_uniformly():
    selection, count = ByTag(quotas={"phone": 2, "tablet": 1}, tags=TAGS), Counter()
    memory = selection.start(NAMES)
    selection.check(CohortPolicy(size=3))
    for round in range(600):
        names, _, _ = drawn(selection, drawing(round=round, size=3), memory)
        assert [TAGS[name] for name in names] == ["phone", "phone", "tablet"]
        count.update(names)
    assert chi_squared([count[name] for name in ("c00", "c01", "c02")], 400) < 13.8
    assert count["c03"] == pytest.approx(300, abs=45) and selection.sampling(drawing(Present(NAMES), size=3)) is None
    away = Some(away={"c00", "c01", "c03", "c04"})
    assert drawn(selection, drawing(away, size=3), memory)[0] == ("c02",)


def test_another_tag_moves_nobody():
    alone, both = (ByTag(quotas=q, tags=TAGS) for q in ({"phone": 1}, {"tablet": 1, "phone": 1}))
    for round in range(20):
        one, two = (drawn(s, drawing(round=round, size=1), TAGS)[0] for s in (alone, both))
        assert set(one) < set(two)


def test_tags_come_from_a_file_too(tmp_path):
    (tmp_path / "tags.csv").write_text("client,tag\nc07,phone\nc00,watch\n")
    selection = ByTag(quotas={"phone": 3, "watch": 2}, tags=TAGS, table=str(tmp_path / "tags.csv"))
    assert drawn(selection, drawing(size=5), selection.start(NAMES))[0] == ("c00", "c01", "c02", "c05", "c07")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            {"quotas": {"phone": 4}},
            r"selection.quotas: phone: 4: 3 clients have this tag, of the tags phone, tablet, w",
        ),
        ({"quotas": {"laptop": 1}}, r"selection.quotas: laptop: 1: 0 clients have this tag"),
        ({"tags": {"bergen": "phone"}}, r"selection.tags: no client is called 'bergen': nearest are"),
    ],
)
def test_tags_that_do_not_fit_the_clients_are_refused(settings, told):
    with pytest.raises(SelectionError, match=told):
        ByTag(**{"quotas": {"phone": 1}, "tags": TAGS} | settings).start(NAMES)


@pytest.mark.parametrize(
    ("selection", "cohort", "told"),
    [
        (Poisson(), {}, r"selection=poisson: cohort.size is empty"),
        (Weighted(), {}, r"selection=weighted: cohort.size is empty"),
        (Poisson(), {"size": 2, "over": 0.5}, r"selection=poisson cohort.over=0.5: who is counted would depend"),
        (ByTag(quotas={"a": 2}), {"size": 2, "over": 0.5}, r"selection=by_tag cohort.over=0.5"),
        (ByTag(quotas={"a": 2}), {"size": 3}, r"selection.quotas are 2 clients and cohort.size=3: make them agree"),
        (ByTag(quotas={"a": 0}), {"size": 3}, r"selection.quotas: a: 0: it is a number of clients, from 1 on"),
        (ByTag(quotas={"a": 0.5}), {"size": 3}, r"selection.quotas: a: 0.5: it is"),
    ],
)
def test_cohorts_that_cannot_be_drawn_so_are_refused(selection, cohort, told):
    with pytest.raises(SelectionError, match=told):
        selection.check(CohortPolicy(**cohort))


def test_what_goes_with_any_cohort():
    Uniform().check(CohortPolicy())
    Poisson().check(CohortPolicy(size=2))
    Weighted().check(CohortPolicy(size=2, over=0.5))
    assert Uniform().start(None) is Poisson().start(NAMES) is None


def test_answers_by_hand_are_rows():
    assert answer(next(Weighted().draw({}, drawing(size=1))), {"c03": (2.0, 4.0)}).sums["loss"].tolist()[3] == 8.0
