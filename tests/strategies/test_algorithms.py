"""The algorithms against plain float64 references on the toy world, and what they withstand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hansa.strategies import (
    Aggregator,
    Channel,
    Cohort,
    CompositionError,
    Context,
    Evaluation,
    FedAvg,
    Problem,
    Question,
    Released,
    Robust,
    Round,
    RoundLost,
    Scaffold,
    Spec,
    SumError,
    compose,
)
from hansa.strategies.work import LocalTraining, Trained

CTX = Context(round=1, public=b"p", own=b"o")
COHORT = Cohort(expected=4, max=8)
NOW = Round(number=1, population=8, cohort=COHORT)


def released(examples=(1.0, 3.0), delta=((1.0, 2.0), (5.0, 6.0)), groups=1, rule=None):
    """What FedAvg's rows of these clients release, weighted by hand."""
    w = np.array(examples)[:, None]
    rows = {"delta": np.array(delta) * w, "loss": w[:, 0] * 2.0, "weight": w[:, 0]}
    if groups:
        rows = {name: value.sum(axis=0, keepdims=True) for name, value in rows.items()}
    count = np.array([len(examples)]) if groups else np.ones(len(examples), int)
    return Released(sums=rows, count_G=count, names=("a", "b"), **({"rule": rule} if rule else {}))


def finish(strategy, answer, state=None):
    flow = strategy.round(state or strategy.init(np.zeros(2, np.float32)), NOW)
    request = next(flow)
    with pytest.raises(StopIteration) as stop:
        flow.send(answer)
    return request, *stop.value.value


def test_fedavg_weighs_by_examples():
    request, state, metrics = finish(FedAvg(lr=0.5), released())
    assert request.endpoint == "train.update" and request.to == "cohort"
    assert state["model"].dtype == np.float32
    assert np.allclose(state["model"], 0.5 * (np.array([1, 2]) + 3 * np.array([5, 6])) / 4)
    assert metrics == {"train_loss": 2.0}


def test_fedavg_over_a_fixed_denominator():
    strategy = FedAvg(weighting="uniform", denominator="expected")
    _, state, metrics = finish(strategy, released(examples=(1.0, 1.0)))
    assert np.allclose(state["model"], [6 / 4, 8 / 4])
    assert metrics == {"train_loss": 2.0}


@pytest.mark.parametrize("field", ["weighting", "denominator"])
def test_fedavg_refuses_unknown_words(field):
    with pytest.raises(CompositionError, match=f"strategy.{field}='examplse': it is one of"):
        FedAvg(**{field: "examplse"})


def test_all_weights_zero_lose_the_round():
    with pytest.raises(RoundLost, match="no client has training examples"):
        list(_sent(FedAvg(), released(examples=(0.0, 0.0))))


def _sent(strategy, answer):
    flow = strategy.round(strategy.init(np.zeros(2, np.float32)), NOW)
    yield next(flow)
    yield flow.send(answer)


def test_groups_without_weight_are_left_out():
    both = released(examples=(0.0, 3.0), groups=0, rule=lambda means: means.mean(axis=0))
    assert np.allclose(both.mean("delta", "weight"), [5, 6])
    assert np.allclose(both.total("delta"), [15, 18])


def test_scaffold_refuses_what_is_not_plain_sgd():
    for training in (frozenset(), frozenset({"corrects"})):
        with pytest.raises(CompositionError, match="SCAFFOLD corrects every gradient of plain SGD"):
            Scaffold().endpoints(Problem(parameters=2, cohort=COHORT, training=training))


class Standing:
    """A trainer whose client has no data: it takes no step."""

    def private(self, names):
        return np.zeros((len(names), 0), np.float32)

    def train(self, model_P, private_BQ, names, ctx, plan=None):
        zero = np.zeros((len(names), 2), np.float32)
        none = zero[:, 0]
        return Trained(delta_BP=zero, private_BQ=private_BQ, examples_B=none, loss_B=none, travel_B=none)


def test_a_client_that_takes_no_step_keeps_its_control():
    end = Scaffold().endpoints(Problem(parameters=2, cohort=COHORT))["train.scaffold"]
    payload = {"model": np.zeros(2, np.float32), "control": np.ones(2, np.float32)}
    states = end.work.start(Standing(), 2, ("a",))
    rows, _ = end.run(Standing(), payload, states, ("a",), CTX)
    assert not rows.any()


def test_scaffold_moves_its_control_by_the_share_of_the_population():
    state = {"model": np.zeros(2, np.float32), "control": np.zeros(2, np.float32)}
    sums = {"delta": np.array([[2.0, 4.0]]), "control": np.array([[8.0, 16.0]]), "loss": np.array([2.0])}
    answer = Released(sums=sums, count_G=np.array([2]), names=("a", "b"))
    _, after, _ = finish(Scaffold(), answer, state)
    assert after["model"].tolist() == [1, 2] and after["control"].tolist() == [1, 2]


def test_the_median_withstands_a_poisoned_client():
    end = Robust().endpoints(Problem(parameters=2, cohort=COHORT))["train.update"]
    names = ("a", "b", "c")
    totals = end.aggregator.empty(end.pipeline.wire, names)
    for name, delta in zip(names, ([1, 1], [2, 2], [6e4, -6e4]), strict=True):
        row = end.pipeline.row.pack({"delta": np.array([delta]), "loss": np.zeros(1)}, 1)
        wire, _ = end.encode(row, {}, (name,), CTX)
        totals.add(name, wire[0], end.aggregator.group(name, names, CTX))
    _, state, _ = finish(Robust(), end.release(totals, CTX))
    assert state["model"].tolist() == [2, 1]


def test_a_client_counts_once_and_no_more_than_the_cohort():
    spec = Spec(channels=(Channel(name="x"),), cohort=Cohort(expected=1, max=2))
    totals, other = Aggregator().empty(spec, ("a",)), Aggregator().empty(spec, ("a",))
    totals.add("a", np.ones(1, np.float32), 0)
    other.add("a", np.ones(1, np.float32), 0)
    for twice in (lambda: totals.add("a", np.ones(1, np.float32), 0), lambda: totals.merge(other)):
        with pytest.raises(SumError, match="'a' is in the sum already"):
            twice()
    totals.add("b", np.ones(1, np.float32), 0)
    with pytest.raises(SumError, match="rows already: raise"):
        totals.add("c", np.ones(1, np.float32), 0)
    assert totals.names == {"a", "b"} and totals.count_G.tolist() == [2]


def test_groups_need_a_rule():
    for groups in (-1, 0, 3):
        with pytest.raises(CompositionError, match="needs a rule over them, such as median"):
            Aggregator(groups=groups)


def test_totals_of_parts_merge():
    spec = Spec(channels=(Channel(name="x"),), cohort=COHORT)
    parts = [Aggregator().empty(spec, ("a", "b")) for _ in range(2)]
    for part, name in zip(parts, "ab", strict=True):
        part.add(name, np.ones(1, np.float32), 0)
    parts[0].merge(parts[1])
    assert parts[0].names == {"a", "b"} and parts[0].count_G.tolist() == [2]


def test_questions_and_evaluations_address_everyone():
    question = Question(query="moments", channels=(Channel(name="count"),))
    flow = question.round()
    assert next(flow).to == "everyone" and question.endpoint in question.endpoints(COHORT)
    with pytest.raises(StopIteration) as stop:
        flow.send(released())
    assert stop.value.value.names == ("a", "b")
    evaluation = Evaluation(channels=(Channel(name="loss"),), by_client=True, to="cohort")
    assert evaluation.endpoints(COHORT)["evaluate.model"].aggregator.groups == 0
    assert next(evaluation.round({"model": np.zeros(1)})).to == "cohort"


class Asked:
    """A trainer that answers a query with its clients' count."""

    def query(self, query, names):
        return {"count": np.ones(len(names))}


def test_a_query_is_answered_by_the_trainer():
    end = Question(query="moments", channels=(Channel(name="count"),)).endpoints(COHORT)["query.moments"]
    states = end.work.start(Asked(), 0, ("a", "b"))
    rows, after = end.run(Asked(), {}, states, ("a", "b"), CTX)
    wire, after = end.encode(rows, after, ("a", "b"), CTX)
    assert wire.tolist() == [[1], [1]] and after == {}
    assert end.work.advance({"x": np.ones(1)}, {}).keys() == {"x"}


def test_unweighted_training_sends_no_weight():
    end = FedAvg(weighting="uniform").endpoints(Problem(parameters=2, cohort=COHORT))["train.update"]
    assert end.work == LocalTraining(weighted=False) and "weight" not in end.pipeline.row.slices
    assert compose(replace(end.pipeline.row), ()).influence == float("inf")
