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

from hansa.conf.compose import compose
from hansa.conf.simulate import prepare
from hansa.simulations.attacked import attackers
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
from hansa.simulations.errors import AttackError
from hansa.simulations.poison import Success
from hansa.strategies import Context

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
