"""What a run leaves behind."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from safetensors.numpy import load_file

from hansa.fedserver.errors import RecordError
from hansa.fedserver.picture import curves
from hansa.fedserver.records import Refusal, RoundRecord
from hansa.fedserver.run_directory import RunDirectory
from hansa.fedserver.watch import line

RECORDS = [
    RoundRecord(round=0, cohort=4, counted=4),
    RoundRecord(round=1, cohort=4, counted=3, metrics={"loss": 0.5, "auc": None}, refused=[Refusal("a", "odd")]),
    RoundRecord(round=2, cohort=4, counted=4, metrics={"loss": 0.25, "a<b": 1.0}),
]


def test_each_round_adds_a_line_and_replaces_the_model(tmp_path):
    directory = RunDirectory(tmp_path / "run")
    for number, record in enumerate(RECORDS):
        assert directory.round(record, lambda number=number: {"w": np.full(2, number, np.float32)})
    lines = [json.loads(text) for text in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [told["round"] for told in lines] == [0, 1, 2]
    assert lines[1]["refused"] == [{"client": "a", "why": "odd"}] and lines[1]["metrics"]["auc"] is None
    assert load_file(tmp_path / "run" / "model.safetensors")["w"].tolist() == [2, 2]


def test_a_model_is_replaced_no_sooner_than_patience_says(tmp_path):
    now = [0.0]
    directory = RunDirectory(tmp_path / "run", patience=10.0, clock=lambda: now[0])
    written = []
    for record, now[0] in zip(RECORDS, (1.0, 10.9, 11.0), strict=True):
        written.append(directory.round(record, lambda: {"w": np.full(2, now[0], np.float32)}))
    assert written == [True, False, True]
    assert load_file(tmp_path / "run" / "model.safetensors")["w"].tolist() == [11, 11]


def test_a_directory_is_not_used_twice(tmp_path):
    with pytest.raises(RecordError, match="exists already: choose another run_dir"):
        RunDirectory(tmp_path)


FULL = """
import resource, sys, numpy as np
from pathlib import Path
from hansa.fedserver.errors import RecordError
from hansa.fedserver.records import RoundRecord
from hansa.fedserver.run_directory import RunDirectory
directory = RunDirectory(Path(sys.argv[1]))
directory.round(RoundRecord(round=1, cohort=1), lambda: {"w": np.ones(10, np.float32)})
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    directory.round(RoundRecord(round=2, cohort=1), lambda: {"w": np.ones(10_000, np.float32)})
except RecordError as error:
    print(error)
"""


def test_a_full_disk_is_told_in_one_line_and_the_last_model_stays(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "run")], capture_output=True, text=True, check=True
    )
    assert "cannot write" in done.stdout and "File too large; the model of round 1 is kept: free some" in done.stdout
    assert load_file(tmp_path / "run" / "model.safetensors")["w"].shape == (10,)
    assert not list((tmp_path / "run").glob(".*.new"))


def test_the_picture_has_a_panel_for_each_metric_that_is_known():
    tree = ElementTree.fromstring(curves(RECORDS, "a & b"))
    names = [node.text for node in tree.iter("{http://www.w3.org/2000/svg}text") if node.get("font-weight") == "bold"]
    assert names == ["a<b", "loss"]
    assert ElementTree.fromstring(curves([], "empty")).get("width") == "720"


def test_a_line_says_who_was_counted_and_what_is_not_known():
    assert line(RECORDS[1], 2) == "round 1/2: 3/4 clients, 0.00 s, 0 B up, 0 B down, loss 0.5000, auc n/a"
    assert "lost: nobody" in line(RoundRecord(round=1, cohort=4, lost="nobody", bytes_up=2_500_000), 2)
