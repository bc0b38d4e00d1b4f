"""Attacks: each formula by hand, and what they do to a federation whatever carries it out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from hansa.conf.compose import compose, own_code
from hansa.conf.errors import WrongValue
from hansa.conf.run import assemble
from hansa.conf.simulate import prepare
from hansa.conf.virtual import demand_none
from hansa.fedclient.state import COMMITTED, STAGED, MemoryStates
from hansa.fedserver.policy import Wait
from hansa.fedtasks import Data, Task
from hansa.simulations.attacked import Attacked, attackers
from hansa.simulations.attacks import (
    Alie,
    Backdoor,
    Feature,
    InnerProduct,
    LabelFlip,
    MinMax,
    Moment,
    Noise,
    Patch,
    Replacement,
    SignFlip,
)
from hansa.simulations.attacks.alie import largest
from hansa.simulations.errors import AttackError, ClientFailed
from hansa.simulations.poison import Success, classes, poisoned
from hansa.strategies import Channel, Context, Endpoint, Spec
from hansa.strategies import compose as pipeline
from tests.places import calls_of, coordinator, inline, run_of

CTX = Context(round=3, public=b"public", own=b"own")
MOMENT = Moment(ctx=CTX, names=("a", "b"), clients=10)
HONEST_AP = np.array([[1.0, -2.0, 0.5], [3.0, 2.0, 0.5]])
MEAN_P, STD_P = np.array([2.0, 0.0, 0.5]), np.array([1.0, 2.0, 0.0])


def test_sign_flip_by_hand():
    assert np.array_equal(SignFlip(scale=2.0).forge(HONEST_AP, MOMENT), [[-2, 4, -1], [-6, -4, -1]])


def test_noise_has_its_deviation_and_is_drawn_by_name_whoever_else_is_there():
    wide_AP = np.zeros((2, 10_000))
    sent_AP = Noise(sigma=3.0).forge(wide_AP, MOMENT)
    assert np.allclose(sent_AP.mean(axis=1), 0, atol=0.15) and np.allclose(sent_AP.std(axis=1), 3, atol=0.1)
    alone = Noise(sigma=3.0).forge(wide_AP[:1], replace(MOMENT, names=("b",)))
    assert np.array_equal(alone[0], sent_AP[1]) and not np.array_equal(sent_AP[0], sent_AP[1])
    later = replace(MOMENT, ctx=replace(CTX, round=4))
    assert not np.array_equal(Noise(sigma=3.0).forge(wide_AP, later), sent_AP)


def test_alie_by_hand():
    assert np.array_equal(Alie(z=1.5).forge(HONEST_AP, MOMENT), [[0.5, -3.0, 0.5]] * 2)
    # n = 50, m = 12: q = floor(26) - 12 = 14, phi(z) = (50 - 12 - 14) / 38
    assert largest(50, 12) == NormalDist().inv_cdf(24 / 38)
    many = replace(MOMENT, clients=50)
    by_itself = Alie().forge(np.repeat(HONEST_AP, 6, axis=0), many)
    assert np.allclose(by_itself, MEAN_P - NormalDist().inv_cdf(24 / 38) * STD_P, atol=1e-12)
    # n = 10, m = 2: q = 4, phi(z) = 1/2
    assert [round(largest(*case), 2) for case in ((20, 4), (100, 40))] == [0.16, 0.9]
    assert largest(10, 2) == 0.0 == largest(2, 1) == largest(1, 1)
    assert largest(10, 7) == NormalDist().inv_cdf(2 / 3)


def test_inner_product_by_hand():
    assert np.array_equal(InnerProduct(epsilon=0.5).forge(HONEST_AP, MOMENT), [[-1.0, 0.0, -0.25]] * 2)


def reference(honest_AP, away_P):
    """The largest gamma at which no honest row is farther away than the two farthest from each other, in closed form.

    |gamma v - c|^2 <= R^2 for each centred row c: gamma <= (v.c + sqrt((v.c)^2 - |v|^2 (|c|^2 - R^2))) / |v|^2.
    """
    centred_AP = honest_AP - honest_AP.mean(axis=0)
    reach = max(np.linalg.norm(a - b) for a in honest_AP for b in honest_AP)
    dot_A, square = centred_AP @ away_P, away_P @ away_P
    root_A = np.sqrt(dot_A**2 - square * ((centred_AP**2).sum(axis=1) - reach**2))
    return ((dot_A + root_A) / square).min()


@pytest.mark.parametrize("direction", ["-std", "-sign", "-unit"])
def test_min_max_finds_the_gamma_of_the_closed_form(direction):
    honest_AP = np.random.default_rng(1).normal(0.2, 1, (6, 20))
    mean_P = honest_AP.mean(axis=0)
    away_P = {"-std": -honest_AP.std(axis=0), "-sign": -np.sign(mean_P), "-unit": -mean_P / np.linalg.norm(mean_P)}
    gamma = reference(honest_AP, away_P[direction])
    sent_AP = MinMax(direction=direction, tolerance=1e-6).forge(honest_AP, MOMENT)
    assert np.allclose(sent_AP, mean_P + gamma * away_P[direction], atol=1e-5) and 0 < gamma < 20


def test_min_max_of_one_attacker_or_of_none_but_zeros_sends_what_is_there():
    assert np.allclose(MinMax(direction="-unit").forge(HONEST_AP[:1], MOMENT), HONEST_AP[:1])
    assert np.allclose(MinMax(direction="-unit").forge(np.zeros((2, 3)), MOMENT), 0)


def test_min_max_by_hand():
    # Two rows at distance 2 on a line: mean 0, std 1, and s = -gamma lies within 2 of +1 up to gamma = 1.
    sent_AP = MinMax(tolerance=1e-9).forge(np.array([[1.0], [-1.0]]), MOMENT)
    assert np.allclose(sent_AP, [[-1.0]] * 2, atol=1e-6)


def test_replacement_by_hand():
    assert np.array_equal(Replacement().forge(HONEST_AP, MOMENT), 5 * HONEST_AP)
    assert np.array_equal(Replacement(scale=2.0).forge(HONEST_AP, MOMENT), 2 * HONEST_AP)


def test_label_flip_by_hand():
    inputs, targets, rng = torch.ones(4, 2), torch.tensor([0, 1, 2, 9]), CTX.learning("a", "poison")
    assert LabelFlip().poison(inputs, targets, 10, rng)[1].tolist() == [9, 8, 7, 0]
    assert LabelFlip(source=1, target=7).poison(inputs, targets, 10, rng)[1].tolist() == [0, 7, 2, 9]
    assert targets.tolist() == [0, 1, 2, 9]


def test_a_patch_lies_where_it_is_put():
    flat = Patch(row=1, column=2, size=1, value=5.0).put(torch.zeros(2, 9))
    assert flat[0].tolist() == [0, 0, 0, 0, 0, 5, 0, 0, 0] and torch.equal(flat[0], flat[1])
    colours = Patch(row=2, column=0, size=2).put(torch.zeros(1, 3, 4, 5))
    assert colours.sum() == 12 and bool((colours[0, :, 2:4, :2] == 1).all())


def test_a_backdoor_marks_its_share_of_the_examples():
    inputs, targets = torch.zeros(10, 4), torch.arange(10)
    marked, labels = Backdoor(target=3, poisoned=0.4, trigger=Feature(index=2, value=7.0)).poison(
        inputs, targets, 10, CTX.learning("a", "poison")
    )
    rows = marked[:, 2] == 7
    assert rows.sum() == 4 and (labels[rows] == 3).all() and torch.equal(labels[~rows], targets[~rows])
    assert not inputs.any() and torch.equal(targets, torch.arange(10)) and not marked[:, [0, 1, 3]].any()


def test_success_counts_examples_of_other_classes_that_the_trigger_turns():
    model = nn.Linear(2, 2)
    model.load_state_dict({"weight": torch.tensor([[0.0, 0.0], [1.0, 1.0]]), "bias": torch.tensor([0.0, -1.5])})
    examples = TensorDataset(torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 1.0]]), torch.tensor([0, 0, 0, 1]))
    success = Success(attack=Backdoor(target=1, trigger=Feature(index=1, value=1.0)))
    # With a second feature of 1, class 1 is what has a first one above 0.5: two of the three of class 0.
    assert success.values(success.measure(model, examples)) == {"backdoor": pytest.approx(2 / 3)}
    assert success.values({}) == {} and success.channels() == () and success.local(torch.ones(1), torch.ones(1)) == {}
    only = TensorDataset(torch.ones(2, 2), torch.ones(2).long())
    assert success.values(success.measure(model, only)) == {"backdoor": None}
    logit = nn.Linear(2, 1)
    nn.init.ones_(logit.weight), nn.init.zeros_(logit.bias)
    assert success.values(success.measure(logit, examples)) == {"backdoor": 1.0}


def test_who_attacks_follows_from_the_key_and_is_fewer_than_half():
    names = tuple(f"client-{i}" for i in range(10))
    assert attackers(0.3, names, b"k") == attackers(0.3, names, b"k") != attackers(0.3, names, b"other")
    assert [len(attackers(share, names, b"k")) for share in (0.0, 0.1, 0.29, 0.49)] == [0, 1, 3, 4]
    assert len(attackers(0.45, names[:4], b"k")) == 1
    with pytest.raises(AttackError, match="of 4 clients that is nobody: raise it"):
        attackers(0.1, names[:4], b"k")


def simulated(folder: Path, *settings: str):
    words = ["task=digits", "rounds=3", "federation=inline", "client.lr=0.5", f"run_dir={folder / 'run'}", *settings]
    with prepare(*compose(words)) as runner:
        runner.carry_out()
    return runner.summary


LOSSY = ("devices=hospitals", "devices.dropout.chance=0.3", "cohort.size=8")
CASES = {
    "a sum": ("attack=alie", "attack.share=0.4"),
    "rows": ("attack=min_max", "strategy=median"),
    "states, a sampled cohort": ("attack=noise", "attack.share=0.4", "strategy=scaffold", "cohort.size=4"),
    "16 bits": ("attack=inner_product", "pipeline=quantised", "cohort.max=64"),
    "data": ("attack=label_flip", "evaluation.by_client=true"),
    "data and rows": ("attack=replacement", "strategy=feddyn"),
    "devices, rows": ("attack=sign_flip", "attack.share=0.4", "strategy=median", *LOSSY),
}


@pytest.mark.parametrize("case", CASES)
def test_the_model_is_the_same_with_any_engine_and_any_number_of_workers(case, tmp_path):
    alone = simulated(tmp_path / "alone", *CASES[case])
    assert alone["attackers"] == (4 if "attack.share=0.4" in CASES[case] else 2)
    assert CASES[case][0] == f"attack={alone['attack']}"
    for workers in (1, 3):
        words = (*CASES[case], "federation=processes", f"workers={workers}")
        there = simulated(tmp_path / str(workers), *words)
        same = ("model_sha256", "metrics", "bytes_up", "bytes_down", "clients", "failures", "stopped")
        assert {name: there[name] for name in same} == {name: alone[name] for name in same}
    assert simulated(tmp_path / "honest", *CASES[case], "attack.share=0.0")["model_sha256"] != alone["model_sha256"]


@pytest.mark.parametrize(
    "words", [("attack.share=0.0",), ("attack=replacement", "attack.scale=1.0", "attack.poisoned=0.001")]
)
def test_an_attack_that_does_nothing_is_none(tmp_path, words):
    honest = simulated(tmp_path / "honest", "strategy=scaffold", "cohort.size=5")
    there = simulated(tmp_path / "there", "strategy=scaffold", "cohort.size=5", "attack=sign_flip", *words)
    assert there["model_sha256"] == honest["model_sha256"] and "attack" not in honest


def test_sign_flip_hurts_the_mean_and_the_median_holds(tmp_path):
    attack = ("rounds=8", "client.epochs=2", "attack=sign_flip", "attack.share=0.2", "attack.scale=5.0")
    mean = simulated(tmp_path / "mean", *attack)["metrics"]["server_accuracy"]
    median = simulated(tmp_path / "median", *attack, "strategy=median")["metrics"]["server_accuracy"]
    honest = simulated(tmp_path / "honest", *attack[:2])["metrics"]["server_accuracy"]
    assert honest > 0.85 and mean < 0.5 and median > 0.8


def test_the_backdoor_works_under_attack_and_not_without(tmp_path):
    words = ("rounds=8", "client.epochs=2", "attack=backdoor", "attack.target=7")
    there = simulated(tmp_path / "there", *words, "attack.share=0.3")["metrics"]
    without = simulated(tmp_path / "without", *words, "attack.share=0.0")["metrics"]
    assert there["server_backdoor"] > 0.7 and without["server_backdoor"] < 0.2
    assert there["server_accuracy"] > 0.8


HOSTILE = frozenset({"hungary"})


def attacked(run, attack, states=None, who=HOSTILE, debug=False):
    engine = inline(run, states=states)
    site = poisoned(engine.site, attack, sorted(who))
    own = b"coordinator"
    return Attacked(inner=engine, site=site, attack=attack, attackers=who, own=own, debug=debug)


@pytest.mark.parametrize("strategy", ["scaffold", "feddyn"])
def test_an_attackers_state_follows_from_its_honest_row(strategy):
    run, honest, there = run_of(f"strategy={strategy}", "rounds=1"), MemoryStates(), MemoryStates()
    good = coordinator(run, inline(run, states=honest))
    bad = coordinator(run, attacked(run, SignFlip(share=0.3, scale=9.0), there))
    records = list(good.rounds()), list(bad.rounds())
    assert records[0][-1].counted == records[1][-1].counted == 4
    assert not np.array_equal(good.state["model"], bad.state["model"])
    assert there.versions.keys() == honest.versions.keys() and len(there.versions) == 4
    for key, version in honest.versions.items():
        assert there.versions[key].tag == version.tag == (1, 0) and key[2] == COMMITTED
        for name, value in version.states.items():
            assert np.array_equal(there.versions[key].states[name], value)


def test_a_state_that_was_not_counted_is_dropped():
    run, states = run_of("strategy=scaffold"), MemoryStates()
    bad = attacked(run, SignFlip(share=0.3), states)
    playing = coordinator(run, bad)
    calls = calls_of(playing, "train.scaffold", ("cleveland", "hungary"))
    first = [list(bad.ask(calls, Wait()))[-1] for _ in range(2)]
    assert first[0].staged == first[1].staged == ["cleveland", "hungary"]
    assert np.array_equal(first[0].totals.sum_GD, first[1].totals.sum_GD)
    assert states.read("run", "hungary", STAGED) is not None and states.read("run", "hungary", COMMITTED) is None


def test_only_the_update_is_forged_and_only_in_training():
    run = run_of("strategy=fedavg")
    bad, good = attacked(run, SignFlip(share=0.3)), inline(run)
    playing = coordinator(run, good)
    names = ("cleveland", "hungary")
    calls = calls_of(playing, "train.update", names)
    honest = {reply.client: reply.row for reply in good.ask(calls, Wait())}
    part = list(bad.ask(calls, Wait()))[-1]
    end = run.job.endpoints["train.update"]
    released = end.release(part.totals, CTX)
    row, where = sum(row.astype(np.float64) for row in honest.values()), end.pipeline.row.slices
    forged_P = honest["cleveland"][where["delta"]].astype(np.float64) - honest["hungary"][where["delta"]]
    assert np.allclose(released.total("delta"), forged_P, atol=1e-9) and released.names == names
    for name in ("loss", "weight"):
        assert np.allclose(released.total(name), row[where[name]].sum(), rtol=1e-6)
    evaluating = calls_of(playing, "evaluate.model", names)
    for one, other in zip(bad.ask(evaluating, Wait()), good.ask(evaluating, Wait()), strict=True):
        assert np.array_equal(one.row, other.row)


def test_attackers_alone_in_a_request_still_answer():
    run = run_of("strategy=median")
    bad = attacked(run, LabelFlip(share=0.3))
    playing = coordinator(run, bad)
    calls = calls_of(playing, "train.update", ("hungary",))
    parts = list(bad.ask(calls, Wait()))
    assert [list(part.done) for part in parts] == [["hungary"], []] and parts[-1].totals.names == {"hungary"}


class Broken(Task):
    """A client whose data cannot be read, one that has none, and two that have."""

    def clients(self):
        return ("a", "b", "c", "d")

    def model(self):
        return nn.Linear(2, 2)

    def data(self, client):
        if client == "a":
            raise ValueError("no such file")
        count = 0 if client == "b" else 4
        return Data(TensorDataset(torch.ones(count, 2), torch.zeros(count).long()))


BROKEN = f"task={Path(__file__)}:Broken"


def broken(attack, who, debug=False):
    run = assemble(*compose(own_code([BROKEN, "evaluation.every=0"])))
    engine = inline(run, names=("a", "b", "c", "d"))
    site = poisoned(engine.site, attack, who)
    bad = Attacked(inner=engine, site=site, attack=attack, attackers=frozenset(who), own=b"o", debug=debug)
    playing = coordinator(run, bad)
    calls = calls_of(playing, "train.update", ("a", "b", "c", "d"))
    return list(bad.ask(calls, Wait()))


@pytest.mark.parametrize("attack", [LabelFlip(), SignFlip()])
def test_an_attacker_whose_work_fails_says_so_as_anybody_does(attack):
    for who in (["a", "b"], ["a"], ["b"]):
        (*_, total) = broken(attack, who)
        (refusal,) = total.refused
        assert refusal.client == "a" and refusal.why.startswith("loading data: ValueError: no such file")
        assert total.totals.names == {"b", "c", "d"}
    with pytest.raises(ClientFailed, match=r"client 'a', round 1, train\.update, stage 'loading data': ValueError: no"):
        broken(attack, ["a", "b"], debug=True)


def test_a_row_that_cannot_be_sent_is_told(monkeypatch):
    def fail(self, rows_BD, after, names, ctx):
        raise ValueError("no way")

    run = run_of()
    bad = attacked(run, SignFlip(share=0.3))
    playing = coordinator(run, bad)
    calls = calls_of(playing, "train.update", ("hungary",))
    monkeypatch.setattr(Endpoint, "encode", fail)
    (*_, total) = bad.ask(calls, Wait())
    assert [one.why for one in total.refused] == ["train.update: ValueError: no way"]


@pytest.mark.parametrize("attack", [SignFlip(share=0.3, scale=5.0), LabelFlip(share=0.3)])
def test_an_attacker_is_one_in_every_request_of_a_round_that_keeps_work(attack):
    """FLTrust asks the root first, and then all; attackers are told by how little they are trusted."""
    run = run_of("strategy=fltrust", "strategy.root=cleveland", "rounds=2")
    there = coordinator(run, attacked(run, attack))
    (*_, record) = there.rounds()
    honest = coordinator(run)
    list(honest.rounds())
    assert record.counted == 4 and not record.refused
    assert not np.array_equal(there.parameters(), honest.parameters())
    if isinstance(attack, SignFlip):
        assert record.metrics["trusted"] < 3


@pytest.mark.parametrize("scale", [1e9, 1e60])
def test_an_update_that_is_too_large_is_refused_as_anybodys_is(scale):
    run = run_of("strategy=median", "rounds=1")
    (*_, record) = coordinator(run, attacked(run, SignFlip(share=0.3, scale=scale))).rounds()
    assert record.counted == 3 and [one.client for one in record.refused] == ["hungary"]
    assert "delta" in record.refused[0].why


def test_what_an_attack_cannot_do_is_refused_by_name():
    run = run_of()
    end = run.job.endpoints["train.update"]
    row = Spec(channels=(Channel(name="logits"),), cohort=end.pipeline.row.cohort)
    bare = with_end(run, replace(end, pipeline=pipeline(row, ())))
    with pytest.raises(
        AttackError, match=r"rows of endpoint train\.update have no channel 'delta' that could be forged"
    ):
        attacked(bare, SignFlip())
    assert attacked(bare, LabelFlip())


def with_end(run, end):
    return replace(run, job=replace(run.job, endpoints={**run.job.endpoints, "train.update": end}))


def test_classes_are_what_the_model_tells_apart():
    digits = run_of("task=digits", "clients=8").work
    assert classes(digits, digits.data("client-0").train) == 10
    hearts = run_of().work
    assert classes(hearts, hearts.data("hungary").train) == 2
    inputs = digits.data("client-0").train.tensors[0][:3]
    for wrong in (torch.tensor([0, 1, 10]), torch.tensor([0.0, 0.5, 1.0]), torch.zeros(3, 2).long()):
        with pytest.raises(AttackError, match="targets are not one class an example: choose an attack on updates"):
            classes(digits, TensorDataset(inputs, wrong))


def test_poisoned_data_is_the_attackers_alone_and_test_data_stays():
    run = run_of()
    site = inline(run).site
    bad = poisoned(site, LabelFlip(), ["hungary"])
    there, honest = bad.work.data("hungary"), site.work.data("hungary")
    assert torch.equal(there.train.tensors[1], 1 - honest.train.tensors[1]) and there.test is honest.test
    assert torch.equal(there.train.tensors[0], honest.train.tensors[0])
    assert poisoned(site, SignFlip(), ["hungary"]) is site and poisoned(site, LabelFlip(), []) is site


def test_real_clients_do_not_attack():
    with pytest.raises(WrongValue, match=r"attack: these clients are real, and none .*: leave attack=none\."):
        demand_none(compose(["attack=alie"])[0])


def test_attackers_are_named_and_whom_the_strategy_trusts_is_none_of_them(tmp_path, capsys):
    who = set()
    for seed in range(12):
        words = ["strategy=fltrust", "strategy.root=cleveland", "attack=sign_flip", "attack.share=0.3", f"seed={seed}"]
        with prepare(*compose([*words, f"run_dir={tmp_path}/{seed}", "federation=inline"])):
            pass
        (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("attack="))
        who.add(line.removeprefix("attack=sign_flip: 1 of 4 clients: "))
    assert who == {"hungary", "switzerland", "va_long_beach"}
