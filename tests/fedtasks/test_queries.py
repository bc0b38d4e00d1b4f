"""Moments from sums over clients are those of all data in one place."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

from hansa.fedtasks import Moments, OptionError, QueryError, Standardise
from hansa.fedtasks.heart_disease import HeartDisease
from hansa.strategies import exact
from hansa.strategies.spec import Cohort, Spec


def examples(inputs):
    return TensorDataset(torch.as_tensor(inputs), torch.zeros(len(inputs)))


def asked(query, clients):
    """The sums of all clients, as they travel: float32 rows, added exactly."""
    spec = Spec(channels=query.channels(), cohort=Cohort(expected=len(clients), max=1024))
    total = exact.zeros(spec, 1)
    for train in clients:
        row = spec.pack({name: value[None] for name, value in query.local(train).items()}, 1)[0]
        exact.add(spec, total[0], row)
    return {name: value[0] for name, value in spec.unpack(exact.to_reals(spec, total)).items()}


def test_heart_disease_is_standardised_as_if_pooled():
    task = HeartDisease()
    (query,) = task.queries
    trains = [task.data(name).train for name in task.clients()]
    fitted = query.fit(asked(query, trains))
    pooled = np.concatenate([train.tensors[0].numpy() for train in trains]).astype(np.float64)
    np.testing.assert_allclose(fitted["standardise.mean"], pooled.mean(0), rtol=1e-5)
    np.testing.assert_allclose(fitted["standardise.scale"], pooled.std(0), rtol=1e-5)
    assert set(query.sets) == set(fitted) <= set(task.model().state_dict())


def test_a_fitted_layer_gives_mean_0_and_deviation_1():
    query = Moments(features=2)
    inputs = np.random.default_rng(0).normal([3, -2], [0.5, 2], (500, 2)).astype(np.float32)
    layer = Standardise(2)
    assert torch.equal(layer(torch.from_numpy(inputs)), torch.from_numpy(inputs))
    fitted = query.fit(asked(query, [examples(inputs[:100]), examples(inputs[100:])]))
    layer.load_state_dict({name.split(".")[1]: torch.from_numpy(value) for name, value in fitted.items()})
    outputs = layer(torch.from_numpy(inputs))
    np.testing.assert_allclose(outputs.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(outputs.std(0, unbiased=False), 1, atol=1e-5)


@pytest.mark.parametrize("distance", [0.0, 1.0, 30.0, 300.0])
def test_error_is_within_its_bound(distance):
    """The bound grows with the distance to the centre, which is why there is a centre."""
    rng = np.random.default_rng(1)
    clients = [rng.normal(distance, 1, (200, 1)) for _ in range(8)]
    fitted = Moments(features=1).fit(asked(Moments(features=1), [examples(client) for client in clients]))
    pooled = np.concatenate(clients)
    d, scale = pooled.mean() / pooled.std(), pooled.std()
    rounding = 2.0**-24
    assert abs(fitted["standardise.scale"][0] - scale) <= scale * (2.0**-22 * (1 + d**2) + rounding) + 1e-6
    mean_error = rounding * (scale * np.hypot(1, d) + abs(pooled.mean())) + 1e-6
    assert abs(fitted["standardise.mean"][0] - pooled.mean()) <= mean_error


def test_without_a_centre_the_scale_of_a_far_feature_is_lost_and_with_one_it_is_not():
    far = np.random.default_rng(2).normal(1500, 1, (500, 1))
    blind, aware = Moments(features=1), Moments(features=1, centre=(1500.0,))
    assert blind.fit(asked(blind, [examples(far)]))["standardise.scale"] == [1.0]
    assert aware.fit(asked(aware, [examples(far)]))["standardise.scale"] == pytest.approx([far.std()], rel=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3, 1e3])
def test_a_constant_feature_gets_scale_1(value):
    query = Moments(features=2, layer="first", name="spread")
    inputs = np.stack([np.full(99, value), np.arange(99.0)], 1)
    fitted = query.fit(asked(query, [examples(inputs[:50]), examples(inputs[50:])]))
    assert fitted["first.scale"][0] == 1 and fitted["first.mean"][0] == pytest.approx(value, rel=1e-6)
    assert fitted["first.scale"][1] == pytest.approx(inputs[:, 1].std(), rel=1e-6)


def test_inputs_of_any_shape_and_datasets_of_any_kind_are_summed():
    class Pairs(Dataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return torch.full((2, 2), float(index)), index

    sums = Moments(features=4).local(Pairs())
    assert sums["moments.sum"].tolist() == [3.0] * 4 and sums["moments.square"].tolist() == [5.0] * 4
    assert sums["moments.count"] == 3 and all(value.dtype == np.float32 for value in sums.values())


def test_a_client_without_examples_adds_nothing_and_all_of_them_are_an_error():
    query, none = Moments(features=2), examples(np.zeros((0, 2)))
    some = examples(np.array([[1.0, 2.0], [3.0, 6.0]]))
    assert query.fit(asked(query, [some, none]))["standardise.mean"].tolist() == [2.0, 4.0]
    with pytest.raises(QueryError, match="no training examples"):
        query.fit(asked(query, [none]))


def test_inputs_of_another_size_are_refused():
    with pytest.raises(QueryError, match="has 3 numbers where 2 are due"):
        Moments(features=2).local(examples(np.zeros((4, 3))))


@pytest.mark.parametrize("value", [1e6, -1e9, np.nan, np.inf])
def test_sums_that_cannot_travel_are_refused_with_their_feature(value):
    with pytest.raises(QueryError, match=r"sums of feature 1 reach .*: set centre and unit near its values"):
        Moments(features=2).local(examples(np.array([[1.0, value]] * 9)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"centre": (1.0,)}, "1 numbers for 2 features"),
        ({"unit": (1.0, 1.0, 1.0)}, "3 numbers for 2 features"),
        ({"unit": (1.0, 0.0)}, "a unit of 0 or below"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, words):
    with pytest.raises(OptionError, match=words):
        Moments(features=2, **options)
