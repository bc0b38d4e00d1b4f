"""The laws can fail: for each, a piece that breaks it and is caught."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from hansa.strategies import (
    Aggregator,
    Bound,
    Channel,
    Context,
    Evaluation,
    FedAvg,
    LocalTraining,
    Question,
    Request,
    Robust,
    Scaffold,
    Totals,
    laws,
    median,
)
from hansa.strategies.pipeline import Pipeline
from hansa.strategies.scaffold import ScaffoldTraining

CLIP = Bound(clip={"delta": 0.5, "loss": 50.0, "control": 0.1}, max_examples=128)


@dataclass(frozen=True, kw_only=True)
class Training(FedAvg):
    """FedAvg with another work."""

    work: LocalTraining = LocalTraining()  # noqa: RUF009

    def endpoints(self, problem):
        return {name: replace(end, work=self.work) for name, end in super().endpoints(problem).items()}


@dataclass(frozen=True, kw_only=True)
class ByPosition(LocalTraining):
    """Draws noise by a client's place in its block."""

    def run(self, trainer, payload, states, names, ctx):
        parts, after = super().run(trainer, payload, states, names, ctx)
        return {**parts, "loss": parts["loss"] + np.arange(len(names))}, after


@dataclass(frozen=True, kw_only=True)
class InPlace(LocalTraining):
    """Works on the payload itself."""

    def run(self, trainer, payload, states, names, ctx):
        payload["model"] += 1
        return super().run(trainer, payload, states, names, ctx)


class Remembering(FedAvg):
    """Has a memory beside its state."""

    rounds = 0

    def round(self, state, now):
        Remembering.rounds += 1
        after, metrics = yield from super().round(state, now)
        return {"model": after["model"] + Remembering.rounds}, metrics


class Grudge(FedAvg):
    """Sends something else when a round is played again."""

    seen = 0

    def round(self, state, now):
        Grudge.seen += 1
        again = {"model": state["model"] + np.float32(Grudge.seen)}
        return (yield from super().round(again, now))


class Asking(FedAvg):
    """Asks more often when a round is played again."""

    seen = 0

    def round(self, state, now):
        Asking.seen += 1
        for _ in range(Asking.seen - 1 if Asking.seen > 3 else 0):
            yield Request(endpoint="train.update", payload=state)
        return (yield from super().round(state, now))


class Loose(FedAvg):
    """Keeps what is no array in its state."""

    def round(self, state, now):
        after, metrics = yield from super().round(state, now)
        return {**after, "round": now.number}, metrics


class Wide(FedAvg):
    """Grows its model."""

    def round(self, state, now):
        after, metrics = yield from super().round({"model": state["model"][:5]}, now)
        return {"model": np.append(after["model"], np.float32(0))}, metrics


class Double(FedAvg):
    """Keeps its model in another type than the clients'."""

    def init(self, model_P):
        return {"model": model_P.astype(np.float64)}

    def round(self, state, now):
        after, metrics = yield from super().round(state, now)
        return {"model": after["model"].astype(np.float64)}, metrics


class Overwriting(FedAvg):
    """Changes the state that it was handed."""

    def round(self, state, now):
        after, metrics = yield from super().round(state, now)
        state["model"] += after["model"]
        return after, metrics


class Floats(Totals):
    """Has the precision of a float32 sum, which depends on the order of its rows."""

    def add(self, client, row_D, group):
        super().add(client, row_D, group)
        self.sum_GD[:] = self.sum_GD.astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Floating(Aggregator):
    """Uses them."""

    def empty(self, spec, names, sum_GD=None):
        return Floats(**vars(super().empty(spec, names, sum_GD)))


@dataclass(frozen=True, kw_only=True)
class ByArrival(Aggregator):
    """Deals clients to groups as they come."""

    seen: list = field(default_factory=list)

    def group(self, client, names, ctx):
        self.seen.append(client)
        return len(self.seen) % self.groups


@dataclass(frozen=True, kw_only=True)
class ByRank(Aggregator):
    """Deals clients to groups by their place in the cohort, so that one who goes moves others."""

    def group(self, client, names, ctx):
        return names.index(client) % self.groups


@dataclass(frozen=True, kw_only=True)
class Grouped(Robust):
    """The median with another aggregator."""

    aggregator: Aggregator

    def endpoints(self, problem):
        return {name: replace(end, aggregator=self.aggregator) for name, end in super().endpoints(problem).items()}


class Lost(FedAvg):
    """Asks for an endpoint that is none."""

    def round(self, state, now):
        yield Request(endpoint="train.nothing", payload=state)


@dataclass(frozen=True, kw_only=True)
class Drifting(Scaffold):
    """Moves the clients' controls by what was not sent."""

    def endpoints(self, problem):
        ends = super().endpoints(problem)
        return {name: replace(end, work=Unsent(option=2)) for name, end in ends.items()}


class Unsent(ScaffoldTraining):
    """Advances by twice what was sent."""

    def advance(self, states, sent):
        return super().advance(states, {**sent, "control": 2 * sent["control"]})


@pytest.mark.parametrize(
    ("check", "broken", "words"),
    [
        (laws.check_block, Training(work=ByPosition()), "blocks of 1"),
        (laws.check_order, Remembering(), "shuffled"),
        (laws.check_order, Grouped(aggregator=ByArrival(groups=3, rule=median)), "shuffled"),
        (laws.check_order, Grouped(aggregator=Floating()), "shuffled"),
        (laws.check_absence, Grouped(aggregator=ByRank(groups=3, rule=median)), "lost, and c01 never asked"),
        (laws.check_state, Overwriting(), "the payload of 'train.update' when|the state handed in"),
        (laws.check_state, Double(), "the model.*in type or shape: float32.*float64"),
        (laws.check_block, Training(work=InPlace()), "after clients worked on it"),
        (laws.check_state, Remembering(), "the state after round"),
        (laws.check_state, Grudge(), "the payload of 'train.update' when"),
        (laws.check_state, Asking(), "asks"),
        (laws.check_state, Loose(), "must be arrays of numbers by name, but 'round' is int"),
        (laws.check_state, Wide(), "in type or shape"),
        (laws.check_state, Lost(), "'train.nothing', which is no endpoint"),
    ],
)
def test_a_broken_strategy_is_caught(check, broken, words):
    with pytest.raises(AssertionError, match=words):
        check(broken)


def test_controls_that_move_by_what_was_not_sent_are_caught():
    laws.check_mirror(Scaffold(pipeline=(CLIP,)), "control", "scaffold")
    with pytest.raises(AssertionError, match="do clients move by what they really sent"):
        laws.check_mirror(Drifting(pipeline=(CLIP,)), "control", "scaffold")


def test_a_limit_that_is_none_is_caught():
    with pytest.raises(AssertionError, match="the models differ"):
        laws.check_limit(FedAvg(pipeline=(Bound(clip={"delta": 0.5}),)), FedAvg())


@dataclass(frozen=True)
class Altered:
    """Changes a compiled pipeline: whatever is nearer the wire stays as it is."""

    change: object

    def wrap(self, spec, inner) -> Pipeline:
        return replace(inner(spec), **self.change(inner(spec)))


def lies(pipeline):
    return {"influence": pipeline.influence / 100}


def mends(pipeline):
    return {"encode": lambda rows, names, ctx: pipeline.encode(np.nan_to_num(rows, posinf=1, neginf=-1), names, ctx)}


def swells(pipeline):
    return {"encode": lambda rows, names, ctx: 2 * pipeline.encode(rows, names, ctx)}


def by_position(pipeline):
    def encode(rows, names, ctx):
        keyed_BD = np.stack([ctx.secret(str(i), "dither").random(rows.shape[1]) for i in range(len(rows))])
        return pipeline.encode((rows + keyed_BD * 1e-3).astype(np.float32), names, ctx)

    return {"encode": encode}


def writes(pipeline):
    def encode(rows, names, ctx):
        wire_BD = pipeline.encode(rows, names, ctx)
        rows[:] = 0
        return wire_BD

    return {"encode": encode}


def counts(pipeline):
    return {"encode": lambda rows, names, ctx: pipeline.encode(rows, names, ctx) / len(names)}


@pytest.mark.parametrize(
    ("check", "change", "words"),
    [
        (laws.check_influence, lies, "moved a total by"),
        (laws.check_influence, swells, "encoded as it should be, was refused"),
        (laws.check_screen, mends, "entered the sum"),
        (laws.check_encoding, counts, "encoded alone, and in a block"),
        (laws.check_encoding, by_position, "encoded alone, and in a block"),
        (laws.check_encoding, writes, "before and after they were encoded|encoded alone"),
    ],
)
def test_a_broken_transform_is_caught(check, change, words):
    with pytest.raises(AssertionError, match=words):
        check((Altered(change), Bound(clip={"delta": 0.5, "loss": 50.0}, max_examples=128)))


@pytest.mark.parametrize("aggregator", [Floating(), ByArrival(groups=3, rule=median)], ids=["floats", "by arrival"])
def test_totals_that_depend_on_order_or_parts_are_caught(aggregator):
    with pytest.raises(AssertionError, match="the total of all, and of the parts"):
        laws.check_merge(aggregator, (Bound(),))


def test_a_rule_that_prefers_a_group_is_caught():
    with pytest.raises(AssertionError, match="in reverse"):
        laws.check_merge(Aggregator(groups=3, rule=lambda means: means[0]), (Bound(),))
    with pytest.raises(AssertionError, match="the rule gives"):
        laws.check_merge(Aggregator(groups=3, rule=lambda means: median(means).reshape(-1)), (Bound(),))


def test_the_toy_world_answers_queries_and_knows_its_optimum():
    world = laws.Quadratic.of(clients=4)
    question = Question(query="any", channels=(Channel(name="targets", shape=(5,)), Channel(name="examples")))
    ends = question.endpoints(laws.rounds.Cohort(expected=4, max=4))
    ctx = Context(round=1, public=b"p", own=b"o")
    rows_BD, _ = ends["query.any"].run(world, {}, {}, world.names, ctx)
    assert np.allclose(rows_BD[:, :5], world.examples_N[:, None] * world.target_NP)
    gradient = (world.pull_N[:, None] * (world.optimum() - world.target_NP)).sum(axis=0)
    assert np.abs(gradient).max() < 1e-5


def test_scaffold_finds_the_optimum_and_fedavg_does_not():
    world = laws.Quadratic.of(noise=0.0, steps=20)
    gaps = [
        np.abs(laws.play(strategy, world, 150).model_P - world.optimum()).max()
        for strategy in (Scaffold(), FedAvg(weighting="uniform"))
    ]
    assert gaps[0] < 1e-3 < 0.1 < gaps[1]


def test_a_request_may_go_to_clients_by_name():
    class Named(FedAvg):
        def round(self, state, now):
            yield Request(endpoint="train.update", payload=state, to=("c03", "c01"))
            return state, {}

    (step,) = laws.play(Named(), laws.Quadratic.of(), 1).steps
    assert step.asked[0][1].names == ("c01", "c03")


def test_an_evaluation_by_client_keeps_clients_apart():
    class Evaluated(FedAvg):
        evaluation = Evaluation(channels=laws.Quadratic.METRICS, by_client=True)

        def endpoints(self, problem):
            return self.evaluation.endpoints(problem.cohort)

        def round(self, state, now):
            released = yield from self.evaluation.round(state)
            return state, {"examples": float(released.total("examples"))}

    world = laws.Quadratic.of()
    (step,) = laws.play(Evaluated(), world, 1).steps
    assert step.asked[0][1].sums["examples"].tolist() == world.examples_N.tolist()
    assert step.metrics == {"examples": world.examples_N.sum()}
