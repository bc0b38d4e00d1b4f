"""The examples of a task of one's own do what their README says."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hansa.fedtasks import DataError, UnknownClient

EXAMPLES = Path(__file__).parents[2] / "examples"
SETTINGS = SimpleNamespace(lr=0.02, epochs=3, batch_size=4, device="cpu")


def load(example, monkeypatch):
    name = f"{example}_mine"
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / example / "mine.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def csv(monkeypatch):
    return load("own_csv", monkeypatch)


@pytest.fixture
def images(monkeypatch):
    pytest.importorskip("PIL")
    return load("own_images", monkeypatch)


def test_csv_every_plant_is_read_from_its_own_file(csv):
    task = csv.Pumps()
    assert task.clients() == ("bergen", "luebeck", "riga")
    for name in task.clients():
        data = task.data(name)
        rows = len((EXAMPLES / "own_csv" / "data" / f"{name}.csv").read_text().splitlines()) - 1
        assert len(data.train) + len(data.test) == rows and len(data.test) > 0
        assert data.train[0][0].shape == (3,) and data.train[0][1].ndim == 0


def test_csv_plants_learn_together(csv):
    """A federation by hand: sums are added, a full gradient step is averaged by examples."""
    torch.manual_seed(0)
    task = csv.Pumps()
    data = [task.data(name) for name in task.clients()]
    (query,), (metric,) = task.queries, task.metrics
    model = task.model()
    answers = [query.local(one.train) for one in data]
    fitted = query.fit({name: sum(answer[name] for answer in answers) for name in answers[0]})
    model.load_state_dict({name: torch.from_numpy(value) for name, value in fitted.items()}, strict=False)
    inputs = torch.cat([one.train.tensors[0] for one in data])
    np.testing.assert_allclose(model.standardise(inputs).mean(0), 0, atol=1e-5)

    def error():
        sums = [metric.local(model(one.test.tensors[0]), one.test.tensors[1]) for one in data]
        total = {"absolute_error.sum": np.sum([one["absolute_error.sum"] for one in sums])}
        return metric.values(total | {"examples": np.array(sum(len(one.test) for one in data))})["absolute_error"]

    before = error()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(100):
        optimiser.zero_grad()
        for one in data:
            (task.loss(model(one.train.tensors[0]), one.train.tensors[1]) * len(one.train) / len(inputs)).backward()
        optimiser.step()
    assert error() < 0.2 < before


def test_csv_metric_without_examples_is_not_available(csv):
    (metric,) = csv.Pumps().metrics
    assert metric.values({"absolute_error.sum": np.zeros(()), "examples": np.zeros(())}) == {"absolute_error": None}


def test_csv_bad_input_is_named(csv, tmp_path):
    with pytest.raises(UnknownClient, match=r"its clients are bergen, luebeck, riga"):
        csv.Pumps().data("oslo")
    with pytest.raises(DataError, match=r"has no files <plant>\.csv"):
        csv.Pumps(data_dir=str(tmp_path)).clients()
    (tmp_path / "oslo.csv").write_text("temperature,vibration,load,wear\n60,3,0.5,1\n60,3,half,1\n")
    with pytest.raises(DataError, match=r"oslo\.csv, line 3: column 'load': the value is no number"):
        csv.Pumps(data_dir=str(tmp_path)).data("oslo")


def paint(folder, seed, count=12):
    """Pictures of two classes, one with a bright line across."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    for name in ("scratched", "whole"):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 90, (20, 24, 3)).astype(np.uint8)
            pixels[rng.integers(4, 16) if name == "scratched" else slice(0)] = 255
            Image.fromarray(pixels).save(folder / name / f"{i:03}.png")


@pytest.fixture
def factory(images, tmp_path):
    for seed, name in enumerate(("gdansk", "visby")):
        paint(tmp_path / name, seed)
    return images.Parts(data_dir=str(tmp_path), size=16)


def test_images_are_read_by_client_and_class(factory):
    assert factory.clients() == ("gdansk", "visby")
    train, test = factory.data("visby")
    assert len(train) == 18 and len(test) == 6
    picture, label = train[0]
    assert picture.shape == (3, 16, 16) and picture.min() >= 0 and 0.5 < picture.max() <= 1 and label == 0
    assert {label for _, label in test.files} == {0, 1}


def trained(task, seed, state=None):
    torch.manual_seed(0)
    model = task.model()
    loss = task.train(model, task.data("gdansk").train, SETTINGS, np.random.default_rng(seed))
    return loss, model.state_dict()


def test_images_training_depends_on_its_seed_alone(factory):
    loss, state = trained(factory, 1)
    torch.rand(7)
    again, same = trained(factory, 1)
    other, _ = trained(factory, 2)
    assert loss == again != other and all(torch.equal(state[name], same[name]) for name in state)


def test_images_are_learnt(factory):
    torch.manual_seed(0)
    model, train = factory.model(), factory.data("gdansk").train
    losses = [factory.train(model, train, SETTINGS, np.random.default_rng(i)) for i in range(6)]
    assert losses[-1] < losses[0] / 2


def test_images_private_names_are_those_of_the_running_statistics(factory):
    from fnmatch import fnmatch

    names = factory.model().state_dict()
    private = {name for name in names if any(fnmatch(name, pattern) for pattern in factory.private)}
    assert private == {f"{i}.{kind}" for i in (1, 5) for kind in ("running_mean", "running_var", "num_batches_tracked")}
    assert all(any(fnmatch(name, pattern) for name in names) for pattern in factory.private)


def test_images_without_pillow_say_how_to_get_it(factory, monkeypatch):
    train = factory.data("visby").train
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DataError, match=r"000\.png: needs pillow to be read: pip install"):
        train[0]


def test_images_bad_input_is_named(factory, images, tmp_path):
    with pytest.raises(UnknownClient, match="its clients are gdansk, visby"):
        factory.data("oslo")
    broken = tmp_path / "visby" / "whole" / "000.png"
    broken.write_bytes(broken.read_bytes()[:60])
    train, test = factory.data("visby")
    with pytest.raises(DataError, match=r"000\.png: is no readable picture"):
        [train[i] for i in range(len(train))] + [test[i] for i in range(len(test))]
    (tmp_path / "visby" / "dented").mkdir()
    with pytest.raises(DataError, match=r"visby: 'dented' is none of the classes scratched, whole: set"):
        factory.data("visby")
    (tmp_path / "oslo" / "whole").mkdir(parents=True)
    with pytest.raises(DataError, match="oslo: has no pictures"):
        factory.data("oslo")
    with pytest.raises(DataError, match="has no folders <client>/<class>"):
        images.Parts(data_dir=str(tmp_path / "none")).clients()
