"""The table and the picture of a sweep, and what a target tells."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from hansa.fedserver.errors import RunFailed
from hansa.fedserver.records import RoundRecord
from hansa.fedserver.sweep import SweptRun, as_csv, as_json, columns, rows
from hansa.fedserver.sweep_picture import LOOKS, curves
from hansa.fedserver.target import Target

SVG = "{http://www.w3.org/2000/svg}"


def run(number, stopped="finished", series=None, told=None, metrics=None, **settings):
    summary = {"metrics": metrics or {}, "rounds": 2, "seconds": 1.0, "bytes_up": 3, "bytes_down": 4, **(told or {})}
    settings = {name: str(value) for name, value in settings.items()}
    return SweptRun(
        number=number, settings=settings, directory="d", stopped=stopped, summary=summary, series=series or {}
    )


def table(*runs):
    return rows([run.settings for run in runs], runs)


def test_rows_follow_the_plan_and_count_only_what_finished():
    runs = [run(1, lr=2, seed=1), run(2, "ValueError", lr=2, seed=2), run(3, "interrupted", lr=1, seed=1)]
    two, one, none = rows([*(one.settings for one in runs), {"lr": "9", "seed": "1"}], runs)
    assert [(dict(r.settings)["lr"], r.planned, len(r.finished)) for r in (two, one, none)] == [
        ("2", 2, 1),
        ("1", 1, 0),
        ("9", 1, 0),
    ]
    assert [one.failed for one in runs] == [False, True, False]


def test_a_spread_is_over_the_seeds_that_have_the_value_and_one_seed_has_no_deviation():
    losses = [1.0, 3.0, math.nan, None]
    (row,) = table(*(run(i, metrics={"loss": loss}, seed=i) for i, loss in enumerate(losses)))
    found = row.spreads()["loss"]
    assert (found.mean, found.std, found.count) == (2.0, pytest.approx(math.sqrt(2)), 2)
    (row,) = table(run(1, metrics={"loss": 1.0}, seed=1))
    assert row.spreads()["loss"].std is None


def test_what_no_seed_has_is_an_empty_cell():
    made = table(run(1, metrics={"auc": None}, told={"rounds_to_target": None}, name="a,b", seed=1))
    assert columns(made) == ["auc", "rounds", "seconds", "bytes", "rounds_to_target"]
    (line,) = csv.DictReader(io.StringIO(as_csv(made)))
    assert (line["name"], line["auc_mean"], line["rounds_to_target_mean"], line["bytes_mean"]) == ("a,b", "", "", "7.0")


def test_a_sweep_in_which_nothing_finished_has_a_table_and_a_picture():
    failed = run(1, "ValueError: odd", lr=1, seed=1)
    made = table(failed)
    assert as_csv(made) == "lr,seeds,seeds_finished\n1,1,0\n"
    assert json.loads(as_json(made, [failed]))["runs"][0]["stopped"] == "ValueError: odd"
    assert list(ElementTree.fromstring(curves(made, "sweep")).iter(f"{SVG}polyline")) == []


def picture(*runs):
    return ElementTree.fromstring(curves(table(*runs), "sweep"))


def entries(tree):
    return [str(group[0].text) for group in tree.iter(f"{SVG}g") if group[0].tag == f"{SVG}title"]


def heights(tree, kind):
    return [[float(p.split(",")[1]) for p in str(one.get("points")).split()] for one in tree.iter(f"{SVG}{kind}")]


def test_a_line_is_the_mean_over_seeds_within_one_standard_deviation():
    values = ([1.0, 5.0], [3.0, 5.0])
    tree = picture(*(run(i, series={"loss": list(enumerate(v, 1))}, seed=i) for i, v in enumerate(values)))
    ((start, end),), (band,) = heights(tree, "polyline"), heights(tree, "polygon")
    high, last, last_low, low = band
    assert last == last_low == end and start - high == pytest.approx(low - start, abs=0.11)
    assert (start - high) / (start - end) == pytest.approx(math.sqrt(2) / 3, abs=0.01)
    assert entries(tree) == ["all runs (2 seeds)"]


def test_lines_differ_in_colour_and_keep_it_in_every_panel():
    made = [run(i, series={"loss": [(1, i)], "auc": [(1, i)]}, lr=i, seed=1) for i in range(8)]
    colours = [str(one.get("stroke")) for one in picture(*made).iter(f"{SVG}polyline")]
    assert colours == [colour for colour, _ in LOOKS] * 2 and len(set(colours)) == 8
    assert len({dash for _, dash in LOOKS[:3]}) == 3


# Viénot, Brettel and Mollon (1999): what is left of linear red, green and blue to who lacks one kind of cone.
PROTANOPE = np.array([[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]])
DEUTERANOPE = np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]])
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def seen(colour, eye):
    """A colour as an eye sees it, in CIE L*a*b*, where 2.3 is a just noticeable difference."""
    byte_3 = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear_3 = np.where(byte_3 <= 0.04045, byte_3 / 12.92, ((byte_3 + 0.055) / 1.055) ** 2.4)
    x, y, z = np.cbrt(np.maximum(XYZ @ np.clip(eye @ linear_3, 0, 1) / [0.9505, 1.0, 1.089], 0.008856))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("eye", [np.eye(3), PROTANOPE, DEUTERANOPE], ids=["all cones", "no red", "no green"])
def test_lines_can_be_told_apart_by_eyes_that_lack_a_cone(eye):
    for (one, dash), (other, other_dash) in itertools.combinations(LOOKS, 2):
        assert np.linalg.norm(seen(one, eye) - seen(other, eye)) > (10 if dash != other_dash else 20), (one, other)


@pytest.mark.parametrize(("metric", "best"), [("server_loss", range(8)), ("server_accuracy", range(2, 10))])
def test_of_many_combinations_the_best_are_drawn_and_a_note_says_so(metric, best):
    made = [run(i, series={metric: [(1, 5.0), (2, float(i))], "gap": [(1, -i)]}, lr=i, seed=1) for i in range(10)]
    tree = picture(*made)
    assert entries(tree) == [f"lr={i} (1 seed)" for i in best]
    assert f"8 of 10 combinations: the best by {metric} in the end; sweep.csv has all" in [
        node.text for node in tree.iter(f"{SVG}text")
    ]


def test_a_long_name_is_shortened_in_the_legend_and_whole_in_its_title():
    name = "x" * 200 + "<&"
    tree = picture(run(1, series={"loss": [(1, 1.0)]}, lr=name, seed=1))
    assert entries(tree) == [f"lr={name} (1 seed)"]
    (shown,) = [str(node.text) for node in tree.iter(f"{SVG}text") if "…" in str(node.text)]
    assert len(shown) <= 101 and shown.endswith("<& (1 seed)")


def record(number, **metrics):
    return RoundRecord(round=number, cohort=1, seconds=0.5, bytes_up=10, bytes_down=1, metrics=metrics)


@pytest.mark.parametrize(
    ("target", "took"),
    [
        (Target(metric="accuracy", value=0.8), (3, 2.0, 44)),
        (Target(metric="accuracy", value=0.1), (1, 1.0, 22)),
        (Target(metric="accuracy", value=0.95), (None, None, None)),
        (Target(metric="loss", value=0.5), (3, 2.0, 44)),
        (Target(metric="loss", value=0.1), (None, None, None)),
    ],
)
def test_a_target_is_reached_in_the_first_round_that_is_at_it_or_better(target, took):
    records = [
        RoundRecord(round=0, cohort=1, seconds=0.5, bytes_up=10, bytes_down=1),
        record(1, accuracy=0.5, loss=0.9),
        record(2, accuracy=None, loss=math.nan),
        record(3, accuracy=0.8, loss=0.5),
        record(4, accuracy=0.9, loss=0.6),
    ]
    assert tuple(target.took(records).values()) == took


def test_a_metric_that_nothing_measures_is_refused_but_not_one_that_was_lost():
    target = Target(metric="acuracy", value=0.8)
    with pytest.raises(RunFailed, match="nothing measures 'acuracy': nearest are accuracy, loss"):
        target.demand_measured(record(1, accuracy=0.5, loss=0.9))
    target.demand_measured(record(1, train_loss=0.5, loss=None))
    target.demand_measured(record(0))
