"""Data of the Hugging Face hub: pictures and tables from folders on disk, refused where they cannot be learnt from."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from PIL import Image

from hansa.conf.main import run
from hansa.fedtasks import DataError, OptionError, UnknownClient, hub
from hansa.fedtasks.huggingface import HuggingFace
from hansa.fedtasks.partitions import Natural, Noise, Pathological, Quantity

here = importlib.util.find_spec("flwr_datasets") is not None
needed = pytest.mark.skipif(not here, reason="flwr-datasets is not installed: pip install '.[datasets]'")


def picture(i, size=(8, 6), mode="RGB"):
    channels = {"RGB": (3,), "L": ()}[mode]
    return Image.fromarray(np.random.default_rng(i).integers(0, 256, (*size, *channels), np.uint8), mode)


def saved(folder, train, test=None):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed: pip install '.[datasets]'")
    splits = {"train": datasets.Dataset.from_dict(train)}
    if test is not None:
        splits["test"] = datasets.Dataset.from_dict(test)
    datasets.DatasetDict(splits).save_to_disk(str(folder))
    return str(folder)


def pictures(count, start=0, **options):
    names = ["cat", "dog", "eel"]
    return {
        "picture": [picture(start + i, **options) for i in range(count)],
        "label": [names[i % 3] for i in range(count)],
        "writer": [f"w{i % 4}" for i in range(count)],
    }


@pytest.fixture
def zoo(tmp_path):
    return saved(tmp_path / "zoo", pictures(60), pictures(9, 100))


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    columns = {"age": rng.integers(20, 90, 50), "weight": rng.normal(70, 9, 50), "name": ["x"] * 50}
    return saved(tmp_path / "table", columns | {"ill": [i % 2 for i in range(50)], "ward": [i % 5 for i in range(50)]})


@needed
def test_pictures_are_dealt_out_with_their_labels(zoo):
    task = HuggingFace(dataset=zoo, parts=4)
    parts = [task.data(client).train.tensors for client in task.clients()]
    assert [tuple(images.shape) for images, _ in parts] == [(15, 3, 8, 6)] * 4
    whole = {picture(i).tobytes(): i % 3 for i in range(60)}
    for images, classes in parts:
        assert images.dtype == torch.float32 and images.max() <= 1 and classes.dtype == torch.int64
        for image, label in zip((images * 255).round().byte().permute(0, 2, 3, 1).numpy(), classes, strict=True):
            assert whole.pop(image.tobytes()) == label
    assert not whole
    images, classes = task.server_data().tensors
    assert images.shape == (9, 3, 8, 6) and classes.tolist() == [0, 1, 2] * 3
    assert HuggingFace(dataset=zoo, test_split=None).server_data() is None


@needed
@pytest.mark.parametrize("net", ["auto", "cnn", "mlp"])
def test_the_model_follows_from_the_pictures(zoo, net):
    task = HuggingFace(dataset=zoo, net=net, parts=2)
    images, classes = task.data("client-0").train.tensors
    outputs = task.model()(images)
    assert outputs.shape == (30, 3) and task.loss(outputs, classes).requires_grad
    assert any(isinstance(layer, torch.nn.Conv2d) for layer in task.model()) == (net != "mlp")


@needed
def test_grey_pictures_have_one_channel(tmp_path):
    task = HuggingFace(dataset=saved(tmp_path / "grey", pictures(20, mode="L")), test_split=None, parts=2)
    assert task.data("client-1").train.tensors[0].shape == (10, 1, 8, 6)


@needed
def test_arrays_keep_their_shape(tmp_path):
    values = np.random.default_rng(0).normal(size=(20, 7))
    task = HuggingFace(
        dataset=saved(tmp_path / "arrays", {"x": values.tolist(), "label": [0, 1] * 10}),
        input="x",
        test_split=None,
        parts=1,
    )
    inputs = task.data("client-0").train.tensors[0]
    assert sorted(inputs[:, 0, 0].tolist()) == sorted(values[:, 0].astype(np.float32).tolist())
    assert task.model()(inputs).shape == (20, 2)


@needed
def test_tables_are_rows_of_numbers(table):
    task = HuggingFace(dataset=table, label="ill", test_split=None, parts=5)
    inputs, classes = task.data("client-0").train.tensors
    assert inputs.shape == (10, 3) and set(classes.tolist()) <= {0, 1}
    assert HuggingFace(dataset=table, label="ill", input="weight,age", test_split=None).data("client-0").train.tensors[
        0
    ].shape == (5, 2)
    assert task.model()(inputs).shape == (10, 2)


@needed
def test_our_partitions_deal_it_out(zoo):
    task = HuggingFace(dataset=zoo, partition=Pathological(num_classes_per_partition=1), parts=6)
    assert all(len(task.data(client).train.tensors[1].unique()) == 1 for client in task.clients())
    noisy = HuggingFace(dataset=zoo, partition=Noise(sigma=9.0), parts=6)
    assert noisy.data("client-5").train.tensors[0].std() > 1
    with pytest.raises(OptionError, match="fewer clients"):
        HuggingFace(dataset=zoo, partition=Quantity(), parts=30).data("client-00")


@needed
def test_sources_are_clients(zoo, table):
    task = HuggingFace(dataset=zoo, partition=Natural(partition_by="writer"), parts=None)
    assert task.clients() == ("client-0", "client-1", "client-2", "client-3")
    assert [len(task.data(client).train) for client in task.clients()] == [15] * 4
    first = {picture(i).tobytes() for i in range(0, 60, 4)}
    images = (task.data("client-0").train.tensors[0] * 255).round().byte().permute(0, 2, 3, 1).numpy()
    assert {image.tobytes() for image in images} == first
    by_ward = HuggingFace(
        dataset=table, label="ill", test_split=None, partition=Natural(partition_by="ward"), parts=None
    )
    assert by_ward.data("client-4").train.tensors[0].shape == (10, 2), "the source is no input"


@needed
def test_a_split_without_examples_is_refused(monkeypatch):
    import datasets

    empty = datasets.Dataset.from_dict({"x": [], "label": []})
    monkeypatch.setattr(hub, "_of_hub", lambda dataset, subset, wanted: {"train": empty})
    with pytest.raises(DataError, match="has no examples in the split train: choose another one"):
        HuggingFace(dataset="empty", test_split=None).model()


@needed
@pytest.mark.filterwarnings("ignore:.*unclosed file:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the library leaves its file open
def test_a_table_of_the_library_is_read_by_its_name(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "csv").mkdir()
    for split, rows in (("train", 40), ("test", 8)):
        lines = [f"{i},{-i},{i % 2}" for i in range(rows)]
        (tmp_path / "csv" / f"{split}.csv").write_text("\n".join(["a,b,label", *lines]))
    task = HuggingFace(dataset=str(tmp_path / "csv"), parts=4)
    assert task.data("client-3").train.tensors[0].shape == (10, 2)
    assert task.server_data().tensors[1].tolist() == [0, 1] * 4
    with pytest.raises(DataError, match=r"csv: cannot be read .*'valid'.*: check task.dataset"):
        HuggingFace(dataset=str(tmp_path / "csv"), test_split="valid").model()


@needed
def test_it_learns_in_a_simulation(zoo, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["task=huggingface", f"task.dataset={zoo}", "partition=natural", "partition.partition_by=writer"]
    assert run(["simulate", *words, "clients=2", "rounds=1"]) == 0
    assert "round 1/1: 2/2 clients" in capsys.readouterr().err
    assert run(["partition", *words, "task.parts=null"]) == 0
    assert "clients    4\nexamples   60; a client has 15 to 15" in capsys.readouterr().out


@needed
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"label": "lable"}, "has no column 'lable': it has picture, label, writer"),
        ({"input": "pixels"}, "has no column 'pixels'"),
        ({"input": "writer"}, "the inputs in writer are not numbers, or pictures of one size"),
        ({"test_split": "valid"}, "there is no split 'valid'; there are train, test"),
        ({"partition": Natural(partition_by="author"), "parts": None}, "has no column 'author'"),
    ],
)
def test_data_that_does_not_fit_is_refused(zoo, options, words):
    task = HuggingFace(dataset=zoo, **options)
    with pytest.raises(DataError, match=words):
        task.model(), task.data(task.clients()[0])


@needed
def test_columns_that_cannot_be_learnt_are_refused(tmp_path):
    mixed = {"picture": [picture(0), picture(1, (9, 9))] * 5, "label": [0.5] * 10}
    folder = saved(tmp_path / "mixed", mixed)
    with pytest.raises(DataError, match="column 'label' is not one of labels: set"):
        HuggingFace(dataset=folder, test_split=None).model()
    mixed["label"] = [0, 1] * 5
    with pytest.raises(DataError, match="pictures of one size: bring them to one size"):
        HuggingFace(dataset=saved(tmp_path / "sizes", mixed), test_split=None, parts=1).data("client-0")
    with pytest.raises(DataError, match="which column is the input"):
        HuggingFace(dataset=saved(tmp_path / "words", {"x": ["a"], "label": [0]}), test_split=None, parts=1).model()
    with pytest.raises(DataError, match=r"cannot be read \(.*\): check task.dataset"):
        HuggingFace(dataset=saved(tmp_path / "none", {"x": [], "label": []}), test_split=None).model()
    tiny = saved(tmp_path / "tiny", pictures(6, size=(3, 3)))
    with pytest.raises(OptionError, match=r"inputs of shape \(3, 3, 3\) are no pictures of 4 x 4 or more: use net=mlp"):
        HuggingFace(dataset=tiny, test_split=None).model()


@needed
def test_what_is_not_there_is_refused(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=r"cannot be read \(.*\): check task.dataset, task.subset"):
        HuggingFace(dataset=str(tmp_path / "gone")).model()
    with pytest.raises(UnknownClient):
        HuggingFace(dataset=saved(tmp_path / "zoo", pictures(20)), test_split=None).data("x")


def test_without_the_library_it_says_what_to_install(monkeypatch, capsys):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "flwr_datasets" else found(name))
    assert run(["simulate", "task=huggingface", "task.dataset=x"]) == 1
    told = capsys.readouterr().err
    assert told == "hansa simulate: task=huggingface needs flwr-datasets: pip install 'hansa[datasets]'.\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "task.dataset is empty: name a data set of the hub"),
        ({"dataset": "x", "net": "lr"}, "task.net='lr': for huggingface it is auto, cnn or mlp"),
        (
            {"dataset": "x", "parts": None},
            "task.parts is empty: give the number of clients, or choose partition=natural",
        ),
        ({"dataset": "x", "partition": Natural()}, "partition.partition_by is empty: name the column"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, words):
    with pytest.raises(OptionError, match=words):
        HuggingFace(**options)
