"""Four hospitals: FLamby's numbers, splits that repeat, and one file for each."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from hansa.fedtasks import DataError, OptionError, UnknownClient
from hansa.fedtasks.heart_disease import HOSPITALS, SHIPPED, HeartDisease

HEADER = "age,sex,cp,trestbps,chol,fbs,restecg,thalch,exang,oldpeak,num\n"
SICK = "63,Male,typical angina,145,233,TRUE,lv hypertrophy,150,FALSE,2.3,3\n"
WELL = "41,Female,atypical angina,130,204,FALSE,normal,172,TRUE,1.4,0\n"


def whole(data):
    """All features and targets of a client, in one order."""
    parts = [part.tensors for part in (data.train, data.test) if part is not None]
    return tuple(torch.cat(some).numpy() for some in zip(*parts, strict=True))


@pytest.fixture
def folder(tmp_path):
    def folder(content):
        (tmp_path / "visby.csv").write_text(content)
        return str(tmp_path)

    return folder


def test_cleaning_gives_the_counts_and_positives_of_flamby():
    data = {name: whole(HeartDisease().data(name)) for name in HeartDisease().clients()}
    assert {name: len(y) for name, (_, y) in data.items()} == dict(zip(HOSPITALS, (303, 261, 46, 130), strict=True))
    positives = [round(float(y.mean()), 3) for _, y in data.values()]
    assert positives == [0.459, 0.375, 0.978, 0.777]
    assert all(x.shape[1] == 13 and x.dtype == y.dtype == np.float32 for x, y in data.values())
    assert not data["switzerland"][0][:, 3].any(), "the Swiss chol is missing and 0"


def test_the_file_as_it_was_published_is_only_cut_up():
    lines = {name: (SHIPPED / f"{name}.csv").read_text().splitlines() for name in HOSPITALS}
    assert {name: len(some) - 1 for name, some in lines.items()} == dict(
        zip(HOSPITALS, (303, 294, 123, 200), strict=True)
    )
    labels = {name: {line.split(",")[3] for line in some[1:]} for name, some in lines.items()}
    assert labels["hungary"] == {"Cleveland", "Hungary"}, "the patient with id 304 is labelled wrongly"
    assert "CC BY 4.0" in (SHIPPED / "LICENSE").read_text()


def test_encoding_of_known_rows(folder):
    task = HeartDisease(data_dir=folder(HEADER + SICK + WELL), test=0)
    x, y = task.data("visby").train.tensors
    assert y.tolist() == [1, 0] and task.data("visby").test is None
    np.testing.assert_allclose(x[0], [63, 1, 145, 233, 1, 150, 0, 2.3, 0, 0, 0, 0, 1])
    np.testing.assert_allclose(x[1], [41, 0, 130, 204, 0, 172, 1, 1.4, 1, 0, 0, 0, 0])


def test_splits_are_stratified_repeat_and_differ_by_number():
    first, again, other = (HeartDisease(split=split).data("hungary") for split in (0, 0, 1))
    assert torch.equal(first.test.tensors[0], again.test.tensors[0])
    assert not torch.equal(first.test.tensors[0], other.test.tensors[0])
    assert len(first.train) == 174 and len(first.test) == 87
    assert first.test.tensors[1].mean().item() == pytest.approx(0.375, abs=0.01)
    rows = [tuple(row.tolist()) for part in (first.train, first.test) for row in part.tensors[0]]
    assert len(rows) == 261 and set(rows) == {tuple(row.tolist()) for row in whole(other)[0]}


def test_a_hospital_needs_its_own_file_only(tmp_path):
    shutil.copy(SHIPPED / "hungary.csv", tmp_path)
    task = HeartDisease(data_dir=str(tmp_path))
    assert task.clients() == ("hungary",)
    x, y = HeartDisease().data("hungary").train.tensors
    there = task.data("hungary").train.tensors
    assert torch.equal(there[0], x) and torch.equal(there[1], y)


def test_a_hospital_with_one_class_or_one_patient_is_read(folder):
    data = HeartDisease(data_dir=folder(HEADER + SICK * 9)).data("visby")
    assert len(data.train) == 6 and len(data.test) == 3 and data.test.tensors[1].all()
    outputs = HeartDisease().model()(data.test.tensors[0])
    sums = [metric.local(outputs, data.test.tensors[1]) for metric in HeartDisease.metrics]
    assert HeartDisease.metrics[1].values(sums[1]) == {"auc": None, "auc_error": None}
    one = HeartDisease(data_dir=folder(HEADER + SICK)).data("visby")
    assert len(one.train) == 1 and one.test is None


@pytest.mark.parametrize(("net", "parameters"), [("logistic", 14), ("mlp", 13 * 16 + 16 + 16 + 1)])
def test_models_standardise_first_and_learn(net, parameters):
    torch.manual_seed(0)
    task = HeartDisease(net=net)
    model = task.model()
    assert sum(p.numel() for p in model.parameters()) == parameters
    x, y = task.data("cleveland").train.tensors
    model.standardise.mean.copy_(x.mean(0))
    model.standardise.scale.copy_(x.std(0))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.5)
    losses = []
    for _ in range(50):
        optimiser.zero_grad()
        loss = task.loss(model(x), y)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 < losses[0]
    accuracy, auc = task.metrics
    x, y = task.data("cleveland").test.tensors
    assert accuracy.local(model(x), y)["accuracy.correct"] / len(y) > 0.7
    assert auc.values(auc.local(model(x), y))["auc"] > 0.8


def test_an_unknown_client_is_refused_and_leads_to_no_file():
    for name in ("lyon", "../heart_disease/hungary", ""):
        with pytest.raises(UnknownClient, match="its clients are cleveland, hungary, switzerland, va_long_beach"):
            HeartDisease().data(name)


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        ("", None, "the file is empty"),
        (HEADER, None, "no complete row"),
        (HEADER.replace("chol,", ""), 1, "there is no column 'chol'"),
        (HEADER + SICK + WELL.replace("Female", "F"), 3, "column 'sex': the value is not one of Female, Male"),
        (HEADER + SICK.replace("233", "high"), 2, "column 'chol': the value is no number"),
        (HEADER + SICK.replace("2.3,3", "2.3,7"), 2, "column 'num': the value is not one of 0, 1, 2, 3, 4"),
    ],
)
def test_a_bad_file_is_named_with_its_line(folder, content, line, words):
    with pytest.raises(DataError, match=words) as caught:
        HeartDisease(data_dir=folder(content)).data("visby")
    assert ("visby.csv: " if line is None else f"visby.csv, line {line}: ") in str(caught.value)


def test_a_folder_without_files_is_refused_and_no_data_is_needed_for_the_model(tmp_path):
    task = HeartDisease(data_dir=str(tmp_path / "none"))
    assert task.model() is not None
    with pytest.raises(DataError, match=r"none: has no files <hospital>.csv: check task\.data_dir"):
        task.clients()


@pytest.mark.parametrize("options", [{"net": "cnn"}, {"test": 1.0}, {"test": -0.1}, {"test": float("nan")}])
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(OptionError, match=f"task.{next(iter(options))}="):
        HeartDisease(**options)
