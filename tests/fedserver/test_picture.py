"""The picture of a run's curves."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree

import pytest

from hansa.fedserver.axes import HEIGHT, MOST, WIDTH
from hansa.fedserver.picture import curves
from hansa.fedserver.records import RoundRecord

SVG = "{http://www.w3.org/2000/svg}"


def drawn(*values, name="loss"):
    records = [RoundRecord(round=i, cohort=1, metrics={name: value}) for i, value in enumerate(values, 1)]
    return ElementTree.fromstring(curves(records, "run"))


def points(tree, kind="polyline"):
    return [
        [tuple(map(float, point.split(","))) for point in str(line.get("points")).split()]
        for line in tree.iter(f"{SVG}{kind}")
    ]


def inside(tree):
    return all(
        0 <= x <= 2 * WIDTH and 0 <= y <= HEIGHT for line in points(tree) + points(tree, "polygon") for x, y in line
    )


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


def test_a_panel_that_is_alone_is_as_wide_as_two():
    records = [RoundRecord(round=i, cohort=1, metrics={"loss": i, "auc": i}) for i in (1, 2)]
    two = points(ElementTree.fromstring(curves(records, "run")))
    ((_, (right, _)),) = points(drawn(1.0, 2.0))
    assert [line[-1][0] for line in two] == [right - WIDTH] * 2 and right < 2 * WIDTH


def test_any_name_gives_valid_xml():
    tree = drawn(1.0, name="a<b & \"c\"'d'")
    assert any(text.text == "a<b & \"c\"'d'" for text in tree.iter(f"{SVG}text"))


def test_a_long_jagged_curve_is_a_thin_line_in_a_band_that_holds_every_value():
    values = [10.0 + (i % 2) for i in range(1000)]
    values[500] = 20.0
    tree = drawn(*values)
    ((line,), (band,)) = points(tree), points(tree, "polygon")
    assert len(line) <= MOST and len(band) == 2 * len(line) and inside(tree)
    (stroke,) = tree.iter(f"{SVG}polyline")
    assert float(str(stroke.get("stroke-width"))) < 2
    spread = [y for _, y in band]
    (short,) = points(drawn(10.0, 20.0))
    assert (max(spread), min(spread)) == (short[0][1], short[1][1]), "the spike is drawn as high as it is"
    inner = [y for x, y in line if abs(x - WIDTH) > WIDTH / 4]
    assert max(inner[1:-1]) - min(inner[1:-1]) < 0.2 * (max(spread) - min(spread))


def test_a_short_curve_has_every_point_and_no_band():
    tree = drawn(*(float(i % 2) for i in range(MOST)))
    assert len(points(tree)[0]) == MOST and points(tree, "polygon") == []
