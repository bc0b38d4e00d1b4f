"""Asynchronous rounds: what is in each buffer, how it is damped, and that the model is a function of the log."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from hansa.conf.compose import compose
from hansa.conf.errors import WrongValue
from hansa.conf.run import assemble
from hansa.fedclient.state import COMMITTED, MemoryStates
from hansa.fedlink.messages import Calls
from hansa.fedserver.asynchronous import Asynchronous
from hansa.fedserver.errors import RunFailed, ServerError, TooFewClients
from hansa.fedserver.federation import Ended
from hansa.fedserver.flight import drawn
from hansa.fedserver.selection.there import Present
from hansa.simulations.crowd import Crowd
from hansa.simulations.devices import Availability, Compute, Devices, Dropout, Load, Luck, Network
from hansa.simulations.effort import Effort
from hansa.simulations.virtual import Virtual
from hansa.strategies import Context, FedAvg, Request
from hansa.strategies.keys import from_seed
from tests.places import HOSPITALS, Replayed, Tampered, coordinator, inline, replayed, run_of

LUCK = Luck(b"a key")
SECONDS = dict(zip(HOSPITALS, (1, 2, 5, 10), strict=True))
BUFFERED = ("cohort=asynchronous", "cohort.buffer=2")


@dataclass
class Sized(Effort):
    """Training that takes each client so many seconds; anything else takes none."""

    seconds: dict[str, int] = field(default_factory=dict)

    def of(self, call, client):
        return Load((0, 0), (self.seconds[client] if call.endpoint.startswith("train.") else 0, 1.0))


def virtual(run, inner, seconds=None, names=HOSPITALS, **devices):
    made = Devices(compute=Compute(operations=1.0), network=Network(), **devices)
    effort = Sized(run.work, run.job.endpoints, seconds=seconds or SECONDS)
    crowd = Crowd(names, made.availability.windows(LUCK, names))
    return Virtual(inner=inner, devices=made, effort=effort, crowd=crowd, luck=LUCK)


def carried(run, inner=None, **devices):
    """Carry a run out on hospitals that take 1, 2, 5 and 10 seconds; return its coordinator and records."""
    there = coordinator(run, virtual(run, inner or inline(run), **devices))
    return there, [record for record in there.rounds() if record.round]


def short(record):
    return {name[0]: age for name, age in record.staleness.items()}


def test_a_buffer_holds_the_next_answers_whatever_model_they_began_from():
    _, records = carried(run_of("strategy=fedbuff", *BUFFERED, "rounds=6"))
    assert [short(record) for record in records] == [
        {"c": 0, "h": 0},  # at 1 and 2 s; both begin again at 2
        {"c": 0, "h": 0},  # at 3 and 4 s
        {"c": 0, "s": 2},  # at 5 s both, of which switzerland began at 0
        {"c": 0, "h": 1},  # at 6 s both
        {"c": 0, "h": 0},  # at 7 and 8 s
        {"c": 0, "h": 0},  # at 9 and 10 s: va_long_beach is heard of at 10 too, and comes after hungary by its name
    ]
    assert [record.virtual.until for record in records] == [2, 4, 5, 6, 8, 10]
    assert [record.counted for record in records] == [2] * 6 and all(record.cohort == 4 for record in records)
    assert [record.metrics["staleness"] for record in records] == [0, 0, 1, 0.5, 0, 0]


def test_who_answered_in_no_buffer_is_told_and_why():
    def odd(reply, call):
        return [] if reply.client == "hungary" else [reply]

    run = run_of("strategy=fedbuff", *BUFFERED, "cohort.deadline=7", "rounds=6", "private=[]")
    there, _ = carried(run, Tampered(inline(run), odd))
    missed = there.exchange.attendance.never({})
    assert set(missed) == {"hungary", "va_long_beach"}
    assert missed["va_long_beach"] == "late: no answer within cohort.deadline=7.0"


def test_with_one_at_work_nothing_is_ever_stale():
    _, records = carried(run_of("strategy=fedbuff", *BUFFERED, "cohort.size=1", "cohort.buffer=1", "rounds=8"))
    assert all(set(record.staleness.values()) == {0} and record.cohort == 1 for record in records)
    assert {name for record in records for name in record.staleness} == set(HOSPITALS)


@pytest.mark.parametrize(("settings", "fades"), [((), (1, 3**-0.5)), (("cohort.decay=0.0",), (1, 1))])
def test_the_model_moves_by_the_damped_sum_over_the_size_of_the_buffer(settings, fades):
    run = run_of("strategy=fedbuff", *BUFFERED, *settings, "rounds=3")
    models, rows = [], {}

    def heard(reply, call):
        if call.endpoint == "train.update":
            rows[call.round, reply.client] = reply.row[:-1].copy()
        return [reply]

    there = coordinator(run, virtual(run, Tampered(inline(run), heard)))
    for record in there.rounds():
        models.append(there.state["model"].astype(np.float64))
        if record.round == 3:
            new, old = rows[3, "cleveland"], rows[1, "switzerland"]
            assert np.allclose(models[-1], models[-2] + (fades[0] * new + fades[1] * old) / 2, rtol=0, atol=1e-6)


def test_the_divisor_is_the_number_of_answers_where_they_are_weighed_by_examples_too():
    run = run_of("strategy=fedavg", *BUFFERED, "rounds=3")
    plain = run_of("strategy=fedavg", *BUFFERED, "cohort.decay=0.0", "rounds=3")
    (there, _), (here, _) = carried(run), carried(plain)
    assert not np.array_equal(there.state["model"], here.state["model"])
    again, _ = carried(run)
    assert np.array_equal(there.state["model"], again.state["model"])


@pytest.mark.parametrize("strategy", ["fedavg_fixed", "fedavg", "scaffold", "fedadam", "ditto"])
def test_a_buffer_of_all_clients_is_the_synchronous_round_to_the_bit(strategy):
    run = run_of(f"strategy={strategy}", "cohort=asynchronous", "cohort.buffer=4")
    there, records = carried(run)
    here = coordinator(run_of(f"strategy={strategy}", "cohort.size=4"))
    list(here.rounds())
    assert np.array_equal(there.parameters(), here.parameters()) and all(record.counted == 4 for record in records)


def test_fedasync_mixes_each_model_by_its_age():
    run = run_of("strategy=fedasync", "cohort=asynchronous", "cohort.buffer=1", "rounds=4", "strategy.mu=0.0")
    sent = {}

    def heard(reply, call):
        if call.endpoint == "train.fedasync":
            sent[reply.client, call.round] = reply.row[:-2].astype(np.float64)
        return [reply]

    there = coordinator(run, virtual(run, Tampered(inline(run), heard)))
    before = np.zeros(0)
    for record in there.rounds():
        after = there.state["model"].astype(np.float64)
        for name, age in record.staleness.items():
            alpha = 0.6 * (1 + age) ** -0.5
            assert np.allclose(after, (1 - alpha) * before + alpha * sent[name, record.round - age], atol=1e-6)
        before = after
    assert short(record) == {"c": 1}, "cleveland at 1 and 2 s, hungary at 2 s, and cleveland, that began then, at 3 s"


@pytest.mark.parametrize("strategy", ["fedbuff", "scaffold", "fedasync"])
def test_the_model_is_a_function_of_the_log(strategy):
    run = run_of(f"strategy={strategy}", *BUFFERED, "rounds=6")
    there, records = carried(run)
    log = deque(name for record in records for name in record.staleness)
    again = replayed(run, log)
    found = [record for record in again.rounds() if record.round]
    assert np.array_equal(there.parameters(), again.parameters())
    assert [record.staleness for record in found] == [record.staleness for record in records]


def test_control_variates_stay_the_mean_of_the_clients_own():
    run, states = run_of("strategy=scaffold", *BUFFERED, "rounds=6"), MemoryStates()
    there, records = carried(run, inline(run, states=states))
    assert max(max(record.staleness.values()) for record in records) == 2
    own = [version.states["scaffold"] for (_, _, slot), version in states.versions.items() if slot == COMMITTED]
    assert len(own) == 3, "va_long_beach was never counted"
    assert np.allclose(there.state["control"], sum(own) / 4, atol=1e-6)


def test_an_answer_that_is_refused_leaves_its_place_to_the_next():
    run = run_of("strategy=fedbuff", *BUFFERED, "rounds=2")

    def spoilt(reply, call):
        bad = reply.client == "cleveland" and call.endpoint == "train.update"
        return [replace(reply, row=np.full_like(reply.row, np.nan)) if bad else reply]

    _, records = carried(run, Tampered(inline(run), spoilt))
    assert [short(record) for record in records] == [{"h": 0, "s": 0}, {"h": 0, "s": 0}]
    assert [(r.client, "holds nan" in r.why) for record in records for r in record.refused] == [("cleveland", True)] * 2


def test_who_takes_too_long_is_given_up_and_asked_again():
    _, records = carried(run_of("strategy=fedbuff", *BUFFERED, "cohort.deadline=4", "rounds=9"))
    assert {name for record in records for name in record.staleness} == {"cleveland", "hungary"}
    refused = [(record.round, r.client) for record in records for r in record.refused]
    assert refused[:2] == [(3, "switzerland"), (3, "va_long_beach")] and len(refused) >= 4
    assert records[2].refused[0].why == "late: no answer within cohort.deadline=4.0"
    fates = Counter(trip.fate for record in records for trip in record.virtual.timeline)
    assert fates["cancelled"] == len(refused) and fates["counted"] == 18


def test_where_nobody_answers_rounds_are_lost_and_the_run_ends():
    run = run_of("strategy=fedbuff", *BUFFERED, "rounds=5")
    there, records = coordinator(run, virtual(run, inline(run), dropout=Dropout(chance=1.0))), []
    with pytest.raises(RunFailed, match=r"3 rounds in a row were lost; the last: 0 of 4 clients answered"):
        records.extend(there.rounds())
    assert len(records) == 4 and all(len(record.virtual.timeline) == 4 for record in records)


def test_fewer_answers_move_the_model_where_no_more_come():
    run = run_of("strategy=fedbuff", "cohort=asynchronous", "cohort.buffer=4", "cohort.min=2", "cohort.deadline=4")
    _, records = carried(run)
    assert [record.counted for record in records] == [2, 2, 2] and not any(record.lost for record in records)


class Leaving(Replayed):
    """All are there before a round, and only two once it has begun."""

    def around(self):
        return Present(HOSPITALS[:2])

    def start(self, calls, deadline):
        self.log.extend(calls.names)

    def next(self):
        return Ended(self.log.popleft()) if self.log else None


def test_fewer_answers_than_min_lose_the_round_even_if_all_who_were_asked_answered():
    run = run_of("strategy=fedbuff", "cohort=asynchronous", "cohort.buffer=4", "cohort.min=3", "cohort.size=1")
    there = coordinator(run, Leaving(inline(run), deque()))
    with pytest.raises(RunFailed, match=r"2 of 2 clients answered and cohort.min=3; start more clients"):
        list(there.rounds())


def test_a_client_that_is_never_there_is_not_waited_for(tmp_path):
    (tmp_path / "trace.csv").write_text("client,start,stop\n" + "".join(f"{name},0,1e9\n" for name in HOSPITALS[:3]))
    run = run_of("strategy=fedbuff", *BUFFERED, "rounds=3")
    _, records = carried(run, availability=Availability(trace=str(tmp_path / "trace.csv")))
    assert all(record.cohort == 3 for record in records)


def test_evaluation_asks_those_who_are_idle():
    for to, size in (("everyone", {2}), ("cohort", {2})):
        asked = []

        def heard(reply, call, asked=asked):
            asked.extend([(call.round, reply.client)] if call.endpoint == "evaluate.model" else [])
            return [reply]

        run = run_of("strategy=fedbuff", *BUFFERED, "evaluation.every=1", f"evaluation.to={to}")
        _, records = carried(run, Tampered(inline(run), heard))
        assert set(Counter(round for round, _ in asked).values()) == size and "auc" in records[-1].metrics
        assert asked[:2] == [(1, "cleveland"), (1, "hungary")]


@dataclass(frozen=True, kw_only=True)
class Twice(FedAvg):
    def round(self, state, now):
        yield Request(endpoint="train.update", payload={"model": state["model"]})
        yield Request(endpoint="train.update", payload={"model": state["model"]})


def test_a_round_that_asks_twice_is_refused():
    run = run_of("strategy=fedbuff", *BUFFERED)
    twice = replace(run, job=replace(run.job, strategy=Twice()))
    with pytest.raises(RunFailed, match=r"round 1 asks clients to train twice, .* choose another strategy"):
        carried(twice)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("strategy=median",), "cohort=asynchronous: the rule of this strategy compares .* or cohort=everyone"),
        (("strategy=feddyn",), "no channel of this strategy fades"),
        (("strategy=rfa",), "takes several requests"),
        (("strategy=fltrust", "strategy.root=hungary"), "takes several requests"),
        (
            ("strategy=fedavg", "pipeline=quantised", "cohort.max=8"),
            "integers cannot fade: leave pipeline=quantised",
        ),
        (("selection=poisson",), "who is idle is drawn uniformly: leave selection=uniform"),
    ],
)
def test_what_cannot_be_asynchronous_is_refused_when_the_configuration_is_read(words, told):
    with pytest.raises(WrongValue, match=told):
        assemble(*compose(["task=heart_disease", *BUFFERED, *words]))


def test_integers_that_do_not_fade_are_added():
    settings = ("pipeline=quantised", "cohort.decay=0", "cohort.max=8")
    there, records = carried(run_of("strategy=fedbuff", *BUFFERED, *settings))
    assert max(records[-1].staleness.values()) == 2 and np.isfinite(there.parameters()).all()


def test_a_federation_without_time_is_refused_and_so_are_too_few_clients():
    with pytest.raises(RunFailed, match=r"needs clients that take time .* as in devices=phones"):
        coordinator(run_of("strategy=fedbuff", *BUFFERED))
    with pytest.raises(TooFewClients, match=r"4 clients are there and a round needs 5: .* lower cohort.buffer and"):
        carried(run_of("strategy=fedbuff", *BUFFERED, "cohort.buffer=5"))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"buffer": 0}, "needs 1 <= min <= buffer <= max"),
        ({"buffer": 3, "min": 4}, "needs 1 <= min <= buffer <= max"),
        ({"size": 0}, "at least 1 client is at work"),
        ({"staleness": "linear"}, "it is polynomial or hinge"),
        ({"decay": -0.5}, "from 0, which damps nothing, to 20"),
        ({"decay": float("nan")}, "from 0, which damps nothing, to 20"),
        ({"decay": 21.0}, "from 0, which damps nothing, to 20"),
        ({"fresh": -1}, "a number of rounds, and 0 at least"),
        ({"deadline": 0.0}, "above 0 seconds"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(settings, told):
    with pytest.raises(ServerError, match=told):
        Asynchronous(**settings)


def test_staleness_weights_are_those_of_the_papers():
    assert [Asynchronous(decay=0.5).fade(t) for t in (0, 3, 8)] == [1, 1 / 2, 1 / 3]
    hinge = Asynchronous(staleness="hinge", decay=10.0, fresh=4)
    assert [hinge.fade(t) for t in (0, 4, 5, 6)] == [1, 1, 1 / 11, 1 / 21]
    assert [Asynchronous(decay=0.0).fade(t) for t in (0, 7)] == [1, 1]


def test_each_idle_client_is_drawn_as_often_as_any_other():
    names, counts = tuple("abcdefgh"), Counter()
    for round in range(2000):
        ctx = Context(round=round, public=b"", own=from_seed(1, "coordinator"))
        found = drawn(Present(names), {"b", "f", "g"}, ctx, 2)
        assert len(set(found)) == 2 and list(found) == sorted(found)
        counts.update(found)
    assert set(counts) == set("acdeh")
    assert sum((counts[name] - 800) ** 2 / 800 for name in "acdeh") < 18.5, "chi squared, 4 degrees, 0.1 %"
    assert drawn(Present(names), set(names), ctx, 3) == () and drawn(Present(names), {"a"}, ctx, None) == names[1:]


def test_calls_to_some_keep_who_was_counted_and_how_they_fade():
    calls = Calls(None, ("a", "b", "c"), {"a": (1, 0), "c": (2, 0)}, 0.5)  # type: ignore[arg-type]
    assert calls.to(("b", "c")) == Calls(None, ("b", "c"), {"c": (2, 0)}, 0.5)  # type: ignore[arg-type]
