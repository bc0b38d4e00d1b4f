"""Shakespeare by role: windows in time order, cut when asked for, that never reach from training into testing."""

from __future__ import annotations

import gzip
import json
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from hansa.fedtasks import DataError, OptionError, UnknownClient, stack
from hansa.fedtasks.examples import targets
from hansa.fedtasks.shakespeare import FILE, OTHER, SYMBOLS, Shakespeare, Windows, encode

LINES = "".join(SYMBOLS[i % len(SYMBOLS)] for i in range(1000))


def written(folder, found):
    (folder / FILE).write_bytes(gzip.compress(json.dumps(found).encode()))
    return folder


@pytest.fixture
def plays(tmp_path):
    return written(tmp_path, {"b/LONG": LINES, "a/MID": LINES[:160], "a/SHORT": LINES[:159]})


def task(folder, **options):
    return Shakespeare(data_dir=str(folder), **options)


def test_roles_that_say_enough_are_clients(plays):
    assert task(plays).clients() == ("a/MID", "b/LONG")
    assert task(plays, least=161).clients() == ("b/LONG",)
    assert task(plays, least=102).clients() == ("a/MID", "a/SHORT", "b/LONG")


def test_the_first_part_trains_and_the_last_tests_in_time_order(plays):
    train, test = task(plays).data("b/LONG")
    assert (len(train), len(test)) == (800 - 80, 200 - 80)
    symbols = encode(LINES)
    for part, begin in ((train, 0), (test, 800)):
        for i in (0, 1, len(part) - 1):
            seen, following = part[i]
            assert seen.tolist() == symbols[begin + i : begin + i + 80].tolist()
            assert following == symbols[begin + i + 80] and seen.dtype == following.dtype == torch.int64
    with pytest.raises(IndexError):
        train[len(train)]


def test_a_role_whose_last_part_is_too_short_tests_nothing(plays):
    train, test = task(plays).data("a/MID")
    assert len(train) == 128 - 80 and test is None
    assert task(plays, test=0.0).data("b/LONG").test is None


@pytest.mark.parametrize(("length", "stride", "windows"), [(80, 1, 0), (81, 1, 1), (81, 9, 1), (99, 9, 3), (98, 9, 2)])
def test_windows_begin_every_stride_characters(length, stride, windows):
    found = Windows(np.arange(length, dtype=np.uint8), stride)
    assert len(found) == windows == len(found.targets)
    assert [following.item() for _, following in (found[i] for i in range(windows))] == targets(found).tolist()


def test_windows_do_not_copy_the_text():
    text = np.zeros(3_000_000, np.uint8)
    tracemalloc.start()
    try:
        found = Windows(text, 1)
        assert len(found) == 3_000_000 - 80 and found[2_000_000][0].shape == (80,)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_symbols_are_those_of_the_texts_and_one_for_all_others():
    assert len(set(SYMBOLS)) == len(SYMBOLS) == 81
    assert "".join(SYMBOLS[i] for i in encode(LINES)) == LINES
    assert set(encode("é€\x7f\t😀\ud800").tolist()) == {OTHER}


def test_the_model_is_that_of_the_paper(plays):
    model = task(plays).model()
    assert [tuple(p.shape) for name, p in model.named_parameters() if "weight_ih" in name] == [(1024, 8), (1024, 256)]
    assert sum(p.numel() for p in model.parameters()) == 656 + 272_384 + 526_336 + 21_074
    inputs, following = stack(task(plays).data("a/MID").train)
    loss = task(plays).loss(model(inputs), following)
    assert model(inputs).shape == (48, 82) and loss.item() == pytest.approx(np.log(82), abs=0.3)


def test_the_next_character_is_learnt(plays):
    torch.manual_seed(0)
    small = task(plays, hidden=32, layers=1)
    model, (inputs, following) = small.model(), stack(small.data("b/LONG").train)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        optimiser.zero_grad()
        small.loss(model(inputs), following).backward()
        optimiser.step()
    inputs, following = stack(small.data("b/LONG").test)
    assert small.metrics[0].local(model(inputs), following)["accuracy.correct"] / len(following) > 0.9


def test_the_file_is_found_by_the_environment(plays, tmp_path, monkeypatch):
    (tmp_path / "above").mkdir()
    (tmp_path / "above" / "shakespeare").symlink_to(plays)
    monkeypatch.setenv("HANSA_DATA", str(tmp_path / "above"))
    assert Shakespeare().clients() == ("a/MID", "b/LONG")


def test_a_missing_file_is_refused_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.delenv("HANSA_DATA", raising=False)
    assert Shakespeare(hidden=2).model() is not None
    with pytest.raises(DataError, match=r"no folder is named: put roles.json.gz there, .* by HANSA_DATA"):
        Shakespeare().clients()
    with pytest.raises(DataError, match="there is no such folder: put"):
        task(tmp_path / "gone").clients()
    with pytest.raises(DataError, match=r"roles.json.gz: cannot be read \(No such file or directory\): put"):
        task(tmp_path).clients()


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"no gzip", "is no JSON in gzip .*: fetch the file again"),
        (gzip.compress(b'{"a": "b"}' * 99, mtime=0)[:-9], "is no JSON in gzip"),
        (gzip.compress(b"{", mtime=0), "is no JSON in gzip"),
        (gzip.compress(b"\xff", mtime=0), "is no JSON in gzip"),
        (gzip.compress(b"[]", mtime=0), "is not an object of texts by role"),
        (gzip.compress(b'{"a": 1}', mtime=0), "is not an object of texts by role"),
        (gzip.compress(b'{"a": "b"}', mtime=0), "has no role of 160 characters or more: lower task.least"),
    ],
)
def test_a_file_that_is_not_right_is_refused(tmp_path, raw, words):
    (tmp_path / FILE).write_bytes(raw)
    with pytest.raises(DataError, match=words):
        task(tmp_path).clients()


def test_an_unknown_role_is_refused(plays):
    with pytest.raises(UnknownClient, match="no client 'a/SHORT' in this task: its clients are a/MID, b/LONG"):
        task(plays).data("a/SHORT")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hidden": 0}, "task.hidden=0: it must be at least 1"),
        ({"layers": 0}, "task.layers=0"),
        ({"stride": 0}, "task.stride=0"),
        ({"test": 1.0}, "task.test=1.0"),
        ({"least": 100}, "task.least=100: what remains of a role for training must have 81 characters: raise it"),
        ({"test": 0.6}, "task.least=160: .* or lower task.test"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, words):
    with pytest.raises(OptionError, match=words):
        Shakespeare(**options)


def test_the_whole_of_shakespeare_is_as_it_is_described():
    folder = Path(os.environ.get("HANSA_DATA") or Path(__file__).parents[3] / "shared" / "data") / "shakespeare"
    if not (folder / FILE).is_file():
        pytest.skip("the texts are not here: name the folder above shakespeare/roles.json.gz by HANSA_DATA")
    whole = task(folder)
    assert len(whole.clients()) == 982
    tested = [name for name in whole.clients() if whole.data(name).test is not None]
    assert len(tested) == 827
    assert not any((encode(text) == OTHER).any() for text in whole._roles.values())
