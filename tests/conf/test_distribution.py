"""``hansa partition``: a picture and its numbers, for a person who has not trained anything yet."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from hansa.conf.main import run


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_it_says_and_draws_who_has_what(capsys):
    assert run(["partition", "task=digits", "partition=linear", "clients=4"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "task=digits partition=linear clients=4",
        "clients    4",
        "examples   1,438; a client has 144 to 575, median 359.5",
        "labels     10; a client has 10 to 10, median 10",
        "imbalance  0.063 (0: all have the same mix of labels; 1: nobody has another's)",
        "picture    partition.svg",
    ]
    assert ElementTree.parse("partition.svg").getroot().get("width") == "960"
    assert [path.name for path in Path().iterdir()] == ["partition.svg"]


def test_a_png_comes_with_its_svg(capsys):
    assert run(["partition", "out=it.png"]) == 0
    assert capsys.readouterr().out.startswith("task=heart_disease\n")
    assert Path("it.png").read_bytes()[:4] == b"\x89PNG" and Path("it.svg").exists()


def test_a_million_clients_are_looked_at_in_part(capsys):
    assert run(["partition", "task=synthetic", "clients=1000000", "most=70"]) == 0
    assert "clients    70 of 1,000,000\n" in capsys.readouterr().out


def test_help_names_its_own_settings_and_draws_nothing(capsys):
    assert run(["partition", "task=digits", "--help"]) == 0
    told = capsys.readouterr().out
    assert "out=FILE.svg (partition.svg)" in told and "most=N" in told and not list(Path().iterdir())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["out=it.pdf"], "out=it.pdf: the picture's name ends in .svg or .png"),
        (["out=gone/it.svg"], "out=gone/it.svg: there is no folder gone: make it first"),
        (["most=0"], "most=0: it is a number of clients, at least 1"),
        (["most=all"], "most=all: it is a number of clients"),
        (["partition=linear"], "task heart_disease has no field 'partition'"),
        (["task=digits", "partition.alpha=2"], "setting 'partition.alpha' does not exist"),
        (["-m", "seed=1,2"], "hansa partition takes no '-m': settings are name=value; see --help"),
        (["digits"], "hansa partition takes no 'digits': settings are name=value; see --help"),
        (["+colour=red"], "setting 'colour' does not exist"),
        (["task=digits", "partition=exponential", "clients=30"], "of 30 clients have no example"),
    ],
)
def test_what_cannot_be_is_one_line(words, told, capsys):
    assert run(["partition", *words]) == 1
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1
    assert not list(Path().iterdir())
