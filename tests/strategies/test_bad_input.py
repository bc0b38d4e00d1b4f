"""Bad input under every strategy: one clear error before the first round, or one reply left out and the rest right."""

from __future__ import annotations

import re

import numpy as np
import pytest

from hansa.fedclient.state import MemoryStates
from hansa.fedserver.errors import RunFailed, TooFewClients
from hansa.strategies import CompositionError, LayoutError
from hansa.strategies.strategy import trains
from tests.odd_task import BROKEN, CLIENTS, STRATEGIES, odd
from tests.places import Tampered, coordinator, inline

every_strategy = pytest.mark.parametrize("strategy", STRATEGIES)
HIDDEN = "body.bias"
"""What BatchNorm takes out again."""
COUNTS = ("norm.num_batches_tracked", "steps")
STATEFUL = ("afl", "ditto", "fedbn", "feddyn", "fedper", "fedrep", "moon", "pfedme", "rfa", "scaffold")
LOOPED = (
    "ditto",
    "fedasync",
    "fedcm",
    "feddyn",
    "fednova",
    "fedprox",
    "fedrep",
    "fine_tuning",
    "moon",
    "pfedme",
    "scaffold",
)
"""Strategies that no training loop of a task's own can follow."""
LEAST = {"bucketing": 2, "bulyan": 7, "krum": 5, "multi_krum": 5, "trimmed_mean": 3}
"""The clients that a round needs, where that is more than one."""


def carried_out(run, change=None):
    """A coordinator after its run, and the records of its rounds; ``change`` is as in `Tampered`."""
    federation = inline(run, CLIENTS)
    there = coordinator(run, federation if change is None else Tampered(federation, change))
    return there, list(there.rounds())


def demand_whole(there, records, counted=9):
    """Every round counted so many and came to numbers."""
    assert [(record.counted, record.lost) for record in records] == [(counted, None)] * len(records)
    metrics = [value for record in records for value in record.metrics.values() if value is not None]
    assert all(np.isfinite(value).all() for value in (*there.state.values(), metrics))


def demand_still(strategy, there):
    """What gradients train is where it began, to the bit; IFCA's mean is that of models around there."""
    lay, start = there.job.layout, there.job.tensors
    for name in [entry.name for entry in lay.entries if entry.kind == "shared" and not entry.buffer]:
        gap = np.abs(there.tensors()[name] - start[name]).max()
        assert gap == 0 or (strategy == "ifca" and gap < 0.5), name


@every_strategy
def test_a_model_with_scalars_counts_and_normalisation_is_learnt(strategy):
    """Each client takes two steps in each of two rounds; in pFedMe's two local rounds, twice that. FedAsync
    mixes counts in as all else."""
    there, records = carried_out(run := odd(strategy))
    demand_whole(there, records)
    assert not any(record.refused for record in records)
    start, after = run.job.tensors, there.tensors()
    assert all((value.dtype, value.shape) == (start[name].dtype, start[name].shape) for name, value in after.items())
    assert all(not np.array_equal(value, start[name]) for name, value in after.items() if name != HIDDEN)
    assert {int(after[name]) for name in COUNTS if name in after} == {{"pfedme": 8, "fedasync": 2}.get(strategy, 4)}


@every_strategy
def test_clients_whose_data_are_not_finite_are_left_out_and_named(strategy):
    there, records = carried_out(odd(strategy, "task.broken=true"))
    without, _ = carried_out(odd(strategy), lambda reply, call: [] if reply.client in BROKEN else [reply])
    demand_whole(there, records, 7)
    for record in records:
        assert {refusal.client for refusal in record.refused} == set(BROKEN)
        assert all(re.search("holds (nan|-?inf): .*mend the data", refusal.why) for refusal in record.refused)
    assert there.state.keys() == without.state.keys()
    assert all(np.array_equal(value, without.state[name]) for name, value in there.state.items())


def test_a_trusted_client_whose_data_are_not_finite_loses_the_round():
    with pytest.raises(RunFailed, match="missing c3: channel 'delta' holds nan"):
        carried_out(odd("fltrust", "task.broken=true", "strategy.root=c3"))


@every_strategy
def test_where_nobody_has_examples_the_round_is_lost(strategy):
    """Where clients weigh the same, an update of 0 from whoever has nothing would count, and be a row to a median."""
    with pytest.raises(RunFailed, match=r"is 0: no client has training ex|missing c0: training: NoExamples: no tr"):
        carried_out(odd(strategy, "task.examples=0"))


@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if name != "fltrust"])
def test_who_has_no_examples_moves_nothing_where_others_have_some(strategy):
    """c2 weighs nothing, or is left out by name; the state becomes what it does without c2."""
    run = odd(strategy, "task.bare=c2")
    weighed = any(trains(name) and "weight" in end.pipeline.row.slices for name, end in run.job.endpoints.items())
    there, records = carried_out(run)
    without, _ = carried_out(odd(strategy), lambda reply, call: [] if reply.client == "c2" else [reply])
    demand_whole(there, records, 9 if weighed else 8)
    assert {refusal.client for record in records for refusal in record.refused} == (set() if weighed else {"c2"})
    assert all(np.allclose(value, without.state[name], atol=1e-6) for name, value in there.state.items())


@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if name != "feddyn"])
@pytest.mark.parametrize("lr", ["0", "-0.1"])
def test_a_step_that_goes_nowhere_or_uphill_is_refused(strategy, lr):
    with pytest.raises(CompositionError, match=rf"strategy\.lr={float(lr)}: it must be above 0"):
        odd(strategy, f"strategy.lr={lr}")


@every_strategy
def test_a_learning_rate_of_0_moves_statistics_alone(strategy):
    there, records = carried_out(odd(strategy, "client.lr=0"))
    demand_whole(there, records)
    demand_still(strategy, there)


@pytest.mark.parametrize("strategy", ["scaffold", "fedcm", "fednova"])
def test_a_tiny_learning_rate_divides_nothing_that_is_counted(strategy):
    demand_whole(*carried_out(odd(strategy, "client.lr=1e-6")))


@every_strategy
def test_private_patterns_that_match_nothing_or_everything_are_refused(strategy):
    with pytest.raises(LayoutError, match=r"'nowhere.\*' matches no tensor of the model: nearest are"):
        odd(strategy, "private=['nowhere.*']")
    with pytest.raises(LayoutError, match="the model shares no tensor: take patterns out"):
        odd(strategy, "private=['*']")


@pytest.mark.parametrize("strategy", ["fedbn", "fedper", "fedrep"])
def test_a_strategy_of_private_tensors_is_refused_without_them(strategy):
    with pytest.raises(CompositionError, match=r"private=\['4\.\*'\]"):
        odd(strategy, "private=[]")


@every_strategy
def test_a_client_whose_state_is_lost_is_left_out_and_named(strategy):
    """After the first round c3's states are gone, as those of a SuperNode without state-dir that was restarted."""
    run, states = odd(strategy, "evaluation.every=0"), MemoryStates()
    there = coordinator(run, inline(run, CLIENTS, states))
    rounds = there.rounds()
    next(rounds)
    states.versions = {key: version for key, version in states.versions.items() if key[1] != "c3"}
    record = next(rounds)
    lost = strategy in STATEFUL
    demand_whole(there, [record], 8 if lost else 9)
    assert [refusal.client for refusal in record.refused] == ["c3"] * lost
    assert all(re.search("StateLost: .* 'c3' .* restore its state_dir", refusal.why) for refusal in record.refused)


@every_strategy
def test_a_training_loop_of_the_tasks_own_is_refused_or_learns(strategy):
    if strategy in LOOPED:
        with pytest.raises(CompositionError, match=r"a task that has no train\(\) of its own"):
            odd(strategy, task="Looped")
    else:
        demand_whole(*carried_out(odd(strategy, task="Looped")))


@pytest.mark.parametrize("strategy", ["scaffold", "fedcm", "fednova"])
@pytest.mark.parametrize("setting", ["client.optimiser=adam", "client.momentum=0.9", "client.proximal=0.1"])
def test_steps_that_are_not_plain_sgd_are_refused(strategy, setting):
    with pytest.raises(CompositionError, match=r"set client\.optimiser=sgd"):
        odd(strategy, setting)


def test_representations_need_a_linear_layer():
    with pytest.raises(CompositionError, match=r"choose a task whose model has a torch\.nn\.Linear"):
        odd("moon", task="Unlinear")


@every_strategy
def test_fewer_clients_than_a_round_needs_are_refused_before_it(strategy):
    run, least = odd(strategy), LEAST.get(strategy, 1)
    assert run.job.least() == least
    if least > 1:
        words = f"needs {least} clients .* and there are {least - 1}: lower .*have more clients"
        with pytest.raises(TooFewClients, match=words):
            next(coordinator(run, inline(run, CLIENTS[: least - 1])).rounds())
    if strategy == "fltrust":
        with pytest.raises(RunFailed, match="nobody but the root client"):
            list(coordinator(run, inline(run, CLIENTS[:1])).rounds())
        return
    assert next(coordinator(run, inline(run, CLIENTS[:least])).rounds()).counted == least


@pytest.mark.parametrize("strategy", LEAST)
def test_a_round_with_fewer_survivors_than_a_rule_needs_is_lost_and_the_run_goes_on(strategy):
    survivors = CLIENTS[: LEAST[strategy] - 1]

    def change(reply, call):
        return [reply] if call.round > 1 or reply.client in survivors else []

    _, records = carried_out(odd(strategy, "evaluation.every=0"), change)
    assert [record.counted for record in records] == [0, 9]
    assert re.search(f"and there are {len(survivors)}: lower .*have more clients", records[0].lost)


MORE = {
    "krum": ("strategy.rule.byzantine=4", "Krum with byzantine=4 needs 11 clients .* there are 9: lower strategy.rule"),
    "multi_krum": ("strategy.rule.keep=10", "Krum with keep=10 needs 10 .* there are 9: lower strategy.rule.keep"),
    "bulyan": ("strategy.rule.byzantine=2", "Bulyan with byzantine=2 needs 11 .* there are 9: lower strategy.rule"),
    "trimmed_mean": ("strategy.rule.trim=0.49", "by 0.49 needs 11 .* there are 9: lower strategy.rule.trim"),
    "bucketing": ("strategy.bucket=10", "strategy.bucket=10 needs 10 clients .* there are 9: lower it"),
    "fltrust": ("strategy.root=c9", "strategy.root='c9': no client has this name: name the one"),
}
"""Settings that are too much for nine clients, which the configuration alone does not show."""


@pytest.mark.parametrize("strategy", MORE)
def test_settings_for_more_clients_than_there_are_are_refused_before_the_first_round(strategy):
    setting, words = MORE[strategy]
    run = odd(strategy, setting)
    with pytest.raises(TooFewClients, match=words):
        next(coordinator(run, inline(run, CLIENTS)).rounds())


@pytest.mark.parametrize(
    ("strategy", "setting", "words"),
    [
        ("krum", "strategy.rule.byzantine=511", "byzantine=511 needs 1025 .* lower strategy.rule.byzantine"),
        ("krum", "cohort.size=4", "needs 5 .* there are 4: lower strategy.rule.byzantine"),
        ("multi_krum", "strategy.rule.byzantine=511", "byzantine=511 needs 1025"),
        ("multi_krum", "strategy.rule.byzantine=-1", "strategy.rule.byzantine=-1: it must be at least 0"),
        ("bulyan", "strategy.rule.byzantine=256", "byzantine=256 needs 1027 .* lower strategy.rule.byzantine"),
        ("bulyan", "strategy.bucket=200", "needs 7 .* there are 6: lower"),
        ("trimmed_mean", "strategy.rule.trim=0.5", "strategy.rule.trim=0.5: it is a share"),
        ("bucketing", "strategy.bucket=2000", "strategy.bucket=2000 needs 2000 clients"),
        ("median_of_means", "strategy.bucket=6", "strategy.bucket=6 needs 6 clients .* there are 5: lower it"),
    ],
)
def test_what_no_cohort_could_bear_is_refused_when_the_settings_are_read(strategy, setting, words):
    with pytest.raises(CompositionError, match=words):
        odd(strategy, setting)
