"""Every partition deals each example to one client at most, repeats, and skews what it says it skews."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hansa.fedtasks import OptionError, UnknownClient, names
from hansa.fedtasks import partitions as p
from hansa.fedtasks.digits import Digits
from hansa.fedtasks.partition import stream

LABELS = np.repeat(np.arange(10), 100)[stream("labels").permutation(1000)]
SOURCES = np.arange(1000) % 7

WHOLE = {
    "iid": p.Iid(),
    "dirichlet": p.Dirichlet(alpha=0.3),
    "dirichlet, balanced": p.Dirichlet(alpha=0.3, self_balancing=True),
    "shards": p.Shards(),
    "shards, by size": p.Shards(num_shards_per_partition=None, shard_size=33, keep_incomplete_shard=True),
    "pathological": p.Pathological(class_assignment_mode="first-deterministic", num_classes_per_partition=3),
    "linear": p.Linear(),
    "square": p.Square(),
    "exponential": p.Exponential(base=1.5),
    "quantity": p.Quantity(alpha=2.0),
    "noise": p.Noise(),
    "natural": p.Natural(),
}
"""Partitions that leave no example out, for at least as many clients as there are classes."""


def shares(partition, clients=10, labels=LABELS, **ids):
    return p.share_out(partition, labels, names(clients), "test", 0, **ids)


def dealt(partition, clients=10, labels=LABELS, **ids):
    return [rows.tolist() for rows in shares(partition, clients, labels, **ids).dealt]


def sizes(partition, **options):
    return [len(rows) for rows in dealt(partition, **options)]


@pytest.mark.parametrize("name", WHOLE)
def test_every_example_is_dealt_to_one_client_and_nobody_is_left_out(name):
    clients = 7 if name == "natural" else 10
    parts = dealt(WHOLE[name], clients, ids_N=SOURCES)
    assert sorted(itertools.chain(*parts)) == list(range(1000)) and all(parts) and len(parts) == clients


@pytest.mark.parametrize("name", WHOLE)
def test_a_deal_is_a_function_of_its_key(name):
    def deal(*key):
        return p.share_out(WHOLE[name], LABELS, names(5), *key, ids_N=SOURCES).dealt.order_N.tolist()

    assert deal("a", 1) == deal("a", 1)
    assert deal("a", 1) != deal("a", 2)
    assert pickle.loads(pickle.dumps(WHOLE[name])) == WHOLE[name]


def test_deals_do_not_move_from_one_release_to_the_next():
    dealt = [shares(WHOLE[name], 7, ids_N=SOURCES).dealt for name in WHOLE]
    orders = b"".join(rows.order_N.astype("<i8").tobytes() + rows.bound_K1.astype("<i8").tobytes() for rows in dealt)
    assert hashlib.sha256(orders).hexdigest()[:16] == "a77d5db2d063816d"


@given(st.integers(1, 50), st.integers(0, 100))
@settings(deadline=None)
def test_iid_parts_are_even(clients, more):
    parts = dealt(p.Iid(), clients, np.zeros(clients + more))
    assert sorted(itertools.chain(*parts)) == list(range(clients + more))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_iid_deals_digits_as_it_always_did():
    whole = hashlib.sha256()
    for client in Digits().clients():
        for tensor in Digits().data(client).train.tensors:
            whole.update(tensor.numpy().tobytes())
    assert whole.hexdigest()[:16] == "239279051dfd32da"


def skew(partition, clients=10):
    """The mean distance of a client's mix of labels from the whole's, which is even."""
    return np.mean([np.abs(np.bincount(LABELS[r], minlength=10) / len(r) - 0.1).sum() / 2 for r in dealt(partition)])


def test_dirichlet_skews_labels_the_more_the_smaller_alpha_is():
    found = [skew(p.Dirichlet(alpha=alpha, min_partition_size=1)) for alpha in (0.1, 1.0, 10.0, 10_000.0)]
    assert found == sorted(found, reverse=True) and found[0] > 0.6 and found[-1] < 0.03


def test_dirichlet_shares_have_the_moments_of_the_distribution():
    """The share p of a class at one of K clients has mean 1 / K and variance (1 / K) (1 - 1 / K) / (K alpha + 1)."""
    labels, alpha, clients = np.repeat(np.arange(2000), 1000), 0.7, 4
    parts = shares(p.Dirichlet(alpha=alpha), clients, labels).dealt
    share_C = np.bincount(labels[parts[0]], minlength=2000) / 1000
    assert share_C.mean() == pytest.approx(1 / clients, abs=0.02)
    assert share_C.var() == pytest.approx(0.25 * 0.75 / (clients * alpha + 1), rel=0.1)


def test_a_balanced_client_gets_nothing_more_once_it_has_the_mean():
    for split in range(20):
        parts = p.share_out(p.Dirichlet(alpha=0.05, self_balancing=True, min_partition_size=1), LABELS, names(4), split)
        for rows in parts.dealt:
            held = np.bincount(LABELS[rows], minlength=10)
            assert all(held[c] == 0 for c in range(10) if held[:c].sum() > 250)


def test_mcmahans_shards_are_two_blocks_of_labels_each():
    parts = shares(p.Shards(), 50).dealt
    assert set(parts.sizes_K) == {20}
    assert max(len(set(LABELS[rows])) for rows in parts) == 2


@pytest.mark.parametrize(
    ("partition", "expected"),
    [
        (p.Shards(num_shards_per_partition=3), [99] * 10),
        (p.Shards(num_shards_per_partition=3, keep_incomplete_shard=True), None),
        (p.Shards(num_shards_per_partition=2, shard_size=10), [20] * 10),
        (p.Shards(num_shards_per_partition=None, shard_size=90), [180] + [90] * 9),
    ],
)
def test_shards_have_the_sizes_that_are_asked_for(partition, expected):
    found = sizes(partition)
    assert found == expected if expected else sum(found) == 1000 and max(found) - min(found) <= 3


@pytest.mark.parametrize("mode", ["random", "deterministic", "first-deterministic"])
@pytest.mark.parametrize("classes", [1, 3, 10])
def test_a_pathological_client_has_exactly_so_many_classes(mode, classes):
    partition = p.Pathological(num_classes_per_partition=classes, class_assignment_mode=mode)
    held = [sorted(set(LABELS[rows])) for rows in dealt(partition, 12)]
    assert {len(labels) for labels in held} == {classes}
    if mode == "deterministic":
        assert held[9] == sorted({(9 + i) % 10 for i in range(classes)})
    if mode == "first-deterministic":
        assert all(k % 10 in labels for k, labels in enumerate(held))


def test_sizes_grow_as_their_names_say():
    assert sizes(p.Linear(), clients=4) == [100, 200, 300, 400]
    assert sizes(p.Square(), clients=4) == [33, 133, 300, 534]
    assert sizes(p.Exponential(base=2), clients=4) == [67, 133, 267, 533]


@given(st.integers(1, 30), st.integers(30, 300))
@settings(deadline=None)
def test_a_larger_weight_never_has_a_smaller_size(clients, examples):
    found = sizes(p.Linear(), clients=clients, labels=np.zeros(max(examples, clients**2)))
    assert found == sorted(found)


def test_quantities_are_skewed_the_more_the_smaller_alpha_is():
    spread = [np.std(sizes(p.Quantity(alpha=alpha, min_partition_size=1), clients=5)) for alpha in (0.3, 3, 3000)]
    assert spread == sorted(spread, reverse=True) and spread[0] > 150 and spread[-1] < 10


def test_noise_has_the_clients_own_variance_and_repeats():
    dealt = shares(p.Noise(sigma=0.4), 4)
    clean = np.zeros((500, 64), np.float32)
    for k, client in enumerate(dealt.clients):
        seen = dealt.inputs(client, clean)
        assert seen.dtype == np.float32 and seen.var() == pytest.approx(0.4 * (k + 1) / 4, rel=0.02)
        assert np.array_equal(seen, dealt.inputs(client, clean))
    assert not np.array_equal(dealt.inputs("client-1", clean), dealt.inputs("client-2", clean))
    assert dealt.dealt.order_N.tolist() == shares(p.Iid(), 4).dealt.order_N.tolist()
    assert shares(p.Iid(), 4).inputs("client-1", clean) is clean


def test_noise_is_for_training_only():
    noisy, plain = Digits(partition=p.Noise(sigma=1.0)), Digits()
    assert torch.equal(noisy.server_data().tensors[0], plain.server_data().tensors[0])
    assert not torch.equal(noisy.data("client-0").train.tensors[0], plain.data("client-0").train.tensors[0])
    assert torch.equal(noisy.data("client-0").train.tensors[1], plain.data("client-0").train.tensors[1])


def test_natural_keeps_sources_together_and_shares_them_out_evenly():
    alone = dealt(p.Natural(), 7, ids_N=SOURCES)
    assert [set(SOURCES[rows]) for rows in alone] == [{source} for source in range(7)]
    grouped = [set(SOURCES[rows]) for rows in dealt(p.Natural(), 3, ids_N=SOURCES)]
    assert sorted(map(len, grouped)) == [2, 2, 3] and set.union(*grouped) == set(range(7))


def test_labels_may_be_words():
    parts = shares(p.Pathological(num_classes_per_partition=1), 4, np.array(["yes", "no"] * 50)).dealt
    assert sum(parts.sizes_K) in (50, 100)


def test_digits_are_dealt_out_by_a_partition():
    task = Digits(partition=p.Pathological(num_classes_per_partition=1), parts=10)
    assert all(len(task.data(name).train.tensors[1].unique()) == 1 for name in task.clients())
    assert Digits(partition=p.Linear()) != Digits()


def test_an_unknown_client_is_refused():
    with pytest.raises(UnknownClient, match="no client 'x'"):
        shares(p.Iid()).rows("x")
    with pytest.raises(UnknownClient, match="no client 'x'"):
        shares(p.Iid()).inputs("x", LABELS)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: p.Dirichlet(alpha=0.0), r"partition\.alpha=0: it is a number above 0"),
        (lambda: p.Dirichlet(alpha=float("nan")), r"partition\.alpha=nan"),
        (lambda: p.Dirichlet(alpha=float("inf")), r"partition\.alpha=inf"),
        (lambda: p.Dirichlet(min_partition_size=0), r"min_partition_size=0: it is a number of at least 1"),
        (lambda: p.Quantity(alpha=-1.0), r"partition\.alpha=-1: it is a number above 0"),
        (lambda: p.Quantity(min_partition_size=0), r"min_partition_size=0"),
        (lambda: p.Shards(num_shards_per_partition=0), r"num_shards_per_partition=0"),
        (lambda: p.Shards(shard_size=0), r"shard_size=0"),
        (lambda: p.Shards(num_shards_per_partition=None), "give num_shards_per_partition, or shard_size, or both"),
        (lambda: p.Pathological(num_classes_per_partition=0), r"num_classes_per_partition=0"),
        (lambda: p.Exponential(base=1.0), r"base=1: it is a number above 1"),
        (lambda: p.Noise(sigma=-0.1), r"sigma=-0.1: it is a number of at least 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, words):
    with pytest.raises(OptionError, match=words):
        make()


@pytest.mark.parametrize(
    ("partition", "clients", "words"),
    [
        (p.Iid(), 1001, "1001 clients cannot each have one of 1000 examples: choose 1 to 1000"),
        (p.Iid(), 0, "0 clients"),
        (
            p.Dirichlet(alpha=0.01),
            50,
            r"none of 100 draws .* too few, \d at the least, to client-\d\d.*: raise partition.alpha, lower",
        ),
        (p.Quantity(alpha=0.01), 50, r"none of 100 draws .* best one left too few, 0 at the least, to client-\d\d"),
        (p.Shards(num_shards_per_partition=101), 10, "10 clients with 101 shards each of 1 need more than the 1000"),
        (
            p.Shards(shard_size=51),
            10,
            "10 clients with 2 shards each of 51 need more than the 1000 .* fewer or smaller",
        ),
        (p.Shards(num_shards_per_partition=None, shard_size=2000), 10, "10 of 10 clients have no example"),
        (p.Shards(num_shards_per_partition=None, shard_size=500), 3, r"1 of 3 clients have no example \(client-2\)"),
        (p.Pathological(num_classes_per_partition=11), 10, "there are 10 classes: choose that many at most"),
        (
            p.Pathological(num_classes_per_partition=2),
            800,
            r"class \d falls to 1\d\d clients and has 100 examples: use",
        ),
        (p.Exponential(), 20, r"\d+ of 20 clients have no example \(client-00, .*\): use fewer clients, or settings"),
        (p.Natural(), 5, "partition=natural: this task does not know its examples' sources: choose another"),
    ],
)
def test_deals_that_cannot_be_are_refused_with_the_remedy(partition, clients, words):
    with pytest.raises(OptionError, match=words):
        shares(partition, clients)


def test_more_clients_than_sources_are_refused():
    with pytest.raises(OptionError, match="7 sources cannot be dealt out to 8 clients: choose 7 clients at most"):
        shares(p.Natural(), 8, ids_N=SOURCES)


def test_a_partition_that_leaves_a_client_empty_is_refused_when_the_task_is_made():
    with pytest.raises(OptionError, match=r"clients have no example \(client-0"):
        Digits(partition=p.Exponential(base=20.0))


def test_settings_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        p.Dirichlet().alpha = 1.0
