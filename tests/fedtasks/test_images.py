"""Digits and MNIST: dealt out evenly, tested by the coordinator, refused where files are not right."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
import torch

from hansa.fedtasks import DataError, OptionError, UnknownClient
from hansa.fedtasks.digits import Digits
from hansa.fedtasks.mnist import Mnist
from hansa.fedtasks.partitions import Dirichlet, Pathological


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()


@pytest.fixture
def mnist(tmp_path):
    """A folder as it is distributed, but with 50 and 7 made-up images; two files are packed."""
    rng = np.random.default_rng(0)
    for which, count in (("train", 50), ("t10k", 7)):
        (tmp_path / f"{which}-images-idx3-ubyte").write_bytes(idx(rng.integers(0, 256, (count, 28, 28))))
        (tmp_path / f"{which}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.arange(count) % 10)))
    return tmp_path


def check_deal(task, total):
    parts = [task.data(name).train.tensors for name in task.clients()]
    sizes = [len(images) for images, _ in parts]
    assert sum(sizes) == total and max(sizes) - min(sizes) <= 1
    assert all(task.data(name).test is None for name in task.clients())
    images = torch.cat([images for images, _ in parts])
    assert len(torch.unique(images.flatten(1), dim=0)) > 0.99 * total, "nobody has another's image"
    assert images.min() >= 0 and images.max() == 1 and images.dtype == torch.float32
    assert parts[0][1].dtype == torch.int64


def test_digits_are_dealt_out_evenly():
    check_deal(Digits(), 1438)
    check_deal(Digits(parts=7, test=0.5), 896)
    assert len(Digits().server_data()) == 1797 - 1438


def test_mnist_is_dealt_out_evenly(mnist):
    check_deal(Mnist(parts=7, data_dir=str(mnist)), 50)
    images, digits = Mnist(data_dir=str(mnist)).server_data().tensors
    assert images.shape == (7, 1, 28, 28) and digits.tolist() == list(range(7))


def test_nobody_is_trained_on_what_the_coordinator_tests_on():
    task = Digits(parts=2)
    trained = {tuple(row.tolist()) for name in task.clients() for row in task.data(name).train.tensors[0]}
    assert not any(tuple(row.tolist()) in trained for row in task.server_data().tensors[0])


def test_splits_repeat_and_differ_by_number(mnist):
    for make in (Digits, lambda **options: Mnist(data_dir=str(mnist), **options)):
        one, again, other = (make(parts=5, split=s).data("client-2").train.tensors[0] for s in (3, 3, 4))
        assert torch.equal(one, again) and not torch.equal(one, other)


@pytest.mark.parametrize(("net", "parameters"), [("lr", 7850), ("2nn", 199_210), ("cnn", 1_663_370)])
def test_mnist_has_the_models_of_the_paper(mnist, net, parameters):
    task = Mnist(net=net, data_dir=str(mnist))
    model = task.model()
    assert sum(p.numel() for p in model.parameters()) == parameters
    images, digits = task.data("client-0").train.tensors
    loss = task.loss(model(images), digits)
    assert loss.ndim == 0 and loss.requires_grad


def test_digits_learn():
    torch.manual_seed(0)
    task = Digits(parts=1)
    model, (images, digits) = task.model(), task.data("client-0").train.tensors
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        optimiser.zero_grad()
        task.loss(model(images), digits).backward()
        optimiser.step()
    images, digits = task.server_data().tensors
    assert task.metrics[0].local(model(images), digits)["accuracy.correct"] / len(digits) > 0.9


def test_mnist_is_found_by_the_environment(mnist, monkeypatch, tmp_path):
    above = tmp_path / "above"
    above.mkdir()
    (above / "mnist").symlink_to(mnist)
    monkeypatch.setenv("HANSA_DATA", str(above))
    assert len(Mnist().data("client-0").train) == 5


def test_a_missing_folder_is_refused_with_what_to_do(monkeypatch, tmp_path):
    monkeypatch.delenv("HANSA_DATA", raising=False)
    assert Mnist().model() is not None and len(Mnist().clients()) == 10
    with pytest.raises(DataError, match=r"no folder is named: put train-images.* by task.data_dir, .* by HANSA_DATA"):
        Mnist().data("client-0")
    with pytest.raises(DataError, match=r"gone: there is no such folder: put train-images"):
        Mnist(data_dir=str(tmp_path / "gone")).server_data()
    monkeypatch.setenv("HANSA_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"mnist: there is no such folder"):
        Mnist().data("client-0")
    with pytest.raises(DataError, match="has no train-images-idx3-ubyte: put"):
        Mnist(data_dir=str(tmp_path)).data("client-0")


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("train-images-idx3-ubyte", np.zeros((50, 28, 27)), r"50 images of \(28, 27\), not of \(28, 28\)"),
        ("train-images-idx3-ubyte", np.zeros((0, 28, 28)), "has 0 images"),
        ("train-images-idx3-ubyte", np.zeros((49, 28, 28)), "has 50 digits for 49 images"),
        ("train-labels-idx1-ubyte", np.full(50, 10), "has the digit 10, at place 0"),
        ("train-labels-idx1-ubyte", np.zeros((50, 28, 28)), "check that the files are not mixed up"),
    ],
)
def test_files_that_do_not_fit_are_refused(mnist, name, array, words):
    (mnist / name).write_bytes(idx(array))
    with pytest.raises(DataError, match=words):
        Mnist(data_dir=str(mnist)).data("client-0")


def test_a_truncated_file_is_refused(mnist):
    path = mnist / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"ubyte: has 39116 bytes where its header says 16 \+ 50 x 28 x 28: fetch"):
        Mnist(data_dir=str(mnist)).data("client-0")


def test_an_unknown_client_is_refused(mnist):
    for task in (Digits(), Mnist(data_dir=str(mnist))):
        with pytest.raises(UnknownClient, match=r"no client 'client-10'.* client-0, .* and 2 more"):
            task.data("client-10")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Digits(parts=0), "task.parts=0"),
        (lambda: Digits(parts=1439), "task.parts=1439: .* choose 1 to 1438"),
        (lambda: Digits(test=0.0), "task.test=0"),
        (lambda: Mnist(parts=60_001), "task.parts=60001"),
        (lambda: Mnist(net="mlp"), "task.net='mlp': for mnist it is lr, 2nn or cnn"),
    ],
)
def test_options_that_make_no_sense_are_refused(make, words):
    with pytest.raises(OptionError, match=words):
        make()


def test_more_clients_than_images_are_refused(mnist):
    with pytest.raises(OptionError, match="choose 1 to 50"):
        Mnist(parts=51, data_dir=str(mnist)).data("client-00")


def test_a_partition_deals_the_images_out(mnist):
    task = Mnist(parts=5, partition=Pathological(class_assignment_mode="deterministic"), data_dir=str(mnist))
    held = [sorted(set(task.data(name).train.tensors[1].tolist())) for name in task.clients()]
    assert held == [[0, 1], [1, 2], [2, 3], [3, 4], [4, 5]]
    with pytest.raises(OptionError, match="gave every client that many examples"):
        Mnist(partition=Dirichlet(), data_dir=str(mnist)).data("client-0")
