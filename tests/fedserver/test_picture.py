"""The picture of a run's curves."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree

import pytest

from hansa.fedserver.picture import HEIGHT, WIDTH, curves
from hansa.fedserver.records import RoundRecord

SVG = "{http://www.w3.org/2000/svg}"


def drawn(*values, name="loss"):
    records = [RoundRecord(round=i, cohort=1, metrics={name: value}) for i, value in enumerate(values, 1)]
    return ElementTree.fromstring(curves(records, "run"))


def points(tree):
    return [
        [tuple(map(float, point.split(","))) for point in str(line.get("points")).split()]
        for line in tree.iter(f"{SVG}polyline")
    ]


def inside(tree):
    return all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for line in points(tree) for x, y in line)


def test_a_curve_falls_where_its_values_fall():
    ((first, second, third),) = points(drawn(3.0, 2.0, 1.0))
    assert first[0] < second[0] < third[0] and first[1] < second[1] < third[1]


def test_a_gap_keeps_the_others_at_their_rounds():
    ((first, third),), ((also_first, _, also_third),) = points(drawn(1.0, None, 2.0)), points(drawn(1.0, 1.5, 2.0))
    assert (first, third) == (also_first, also_third)


@pytest.mark.parametrize(
    "values", [(0.5,), (2.0, 2.0), (1e17, 1e17), (-1e300, -1e300), (0.0, 1e-300), (1.0, 1 + 1e-15)]
)
def test_one_round_and_curves_without_a_range_are_drawn_inside_the_panel(values):
    assert len(points(drawn(*values))[0]) == len(values) and inside(drawn(*values))


def test_what_is_not_a_number_is_left_out():
    tree = drawn(1.0, math.nan, math.inf, 2.0)
    assert len(points(tree)[0]) == 2 and inside(tree)
    assert points(drawn(math.nan, None)) == []


def test_panels_stand_two_a_row_and_only_queries_give_none():
    metrics = dict.fromkeys("abc", 1.0)
    tree = ElementTree.fromstring(curves([RoundRecord(round=1, cohort=1, metrics=metrics)], "run"))
    places = re.findall(r"translate\((\d+),(\d+)\)", ElementTree.tostring(tree, "unicode"))
    assert places == [("0", "0"), (str(WIDTH), "0"), ("0", str(HEIGHT))] and tree.get("height") == str(2 * HEIGHT)
    assert points(ElementTree.fromstring(curves([RoundRecord(round=0, cohort=1, metrics=metrics)], "run"))) == []


def test_any_name_gives_valid_xml():
    tree = drawn(1.0, name="a<b & \"c\"'d'")
    assert any(text.text == "a<b & \"c\"'d'" for text in tree.iter(f"{SVG}text"))
