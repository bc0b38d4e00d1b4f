"""Pictures of virtual time: who did what in the last round, and metrics over it."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from hansa.fedserver.axes import WIDTH
from hansa.fedserver.picture import over_time
from hansa.fedserver.records import RoundRecord, Trip, VirtualTime, written
from hansa.fedserver.run_directory import RunDirectory
from hansa.fedserver.timeline import ENDS, LEAST, PHASES, TALL, WAITING, timeline
from hansa.fedserver.watch import line

SVG = "{http://www.w3.org/2000/svg}"
BAR = re.compile(r"M([\d.]+) ([\d.]+)H([\d.]+)v([\d.]+)H[\d.]+Z")


def round_of(clients: int, requests: int = 2, fates=("counted", "cancelled", "dropped", "absent")) -> RoundRecord:
    """A round whose client i takes i + 3 seconds for each request, which takes as long as the slowest."""
    whole = clients + 2.0
    trips = [
        Trip(f"client-{i}", f"train.{request}", 50.0 + request * whole, 1.0, i + 1.0, 1.0, fates[i % len(fates)])
        for request in range(requests)
        for i in range(clients)
    ]
    time = VirtualTime(seconds=requests * whole, until=50.0 + requests * whole, joules=7.0, timeline=trips)
    return RoundRecord(round=4, cohort=clients, virtual=time)


def bars(tree: ElementTree.Element) -> dict[str, list[tuple[float, ...]]]:
    """The bars of each colour: start, top, end, height."""
    paths = tree.iter(f"{SVG}path")
    return {str(p.get("fill")): [tuple(map(float, bar)) for bar in BAR.findall(str(p.get("d")))] for p in paths}


def words(tree: ElementTree.Element) -> list[str]:
    return [str(text.text) for text in tree.iter(f"{SVG}text")]


@pytest.mark.parametrize("clients", [1, 20, 500])
def test_each_client_has_a_bar_of_its_phases_and_a_mark_of_its_end(clients):
    tree = ElementTree.fromstring(timeline(round_of(clients), "run"))
    found = bars(tree)
    assert [len(found[colour]) for colour in PHASES.values()] == [2 * clients] * 3
    ends = [len(found.get(colour, [])) for colour in (WAITING, *ENDS.values())]
    assert sum(ends) == 2 * clients and ends[0] == 2 * len(range(0, clients, 4))
    height = float(str(tree.get("height")))
    for start, top, end, high in (bar for colour in found.values() for bar in colour):
        assert 0 <= start <= end <= 2 * WIDTH and high >= LEAST * 0.8 and top >= 60 and top + high < height
    assert height < TALL + 110 and ("client-0" in words(tree)) == (clients <= 20)
    assert {"train.0", "train.1", f"{2 * len(range(1, clients, 4))} cancelled"} <= set(words(tree))


def test_lengths_are_in_proportion_and_who_is_done_waits_for_the_end_of_the_request():
    found = bars(ElementTree.fromstring(timeline(round_of(20, fates=("counted",)), "run")))
    lengths = [end - start for start, _, end, _ in found[PHASES["compute"]][:20]]
    assert lengths == pytest.approx([lengths[-1] * (i + 1) / 20 for i in range(20)], abs=0.25)
    waits, second = found[WAITING][:20], found[PHASES["download"]][20]
    assert {end for _, _, end, _ in waits} == {second[0]}
    assert waits[19][0] == waits[19][2], "the slowest waits for nobody"


def test_of_very_many_clients_it_shows_an_even_choice_and_says_so():
    tree = ElementTree.fromstring(timeline(round_of(3000, 1), "run"))
    assert len(bars(tree)[PHASES["compute"]]) == TALL / LEAST
    assert any("500 of its 3000 clients" in text for text in words(tree))
    assert any(text == "750 dropped" for text in words(tree)), "the legend counts all"


def test_a_round_in_which_nobody_moved_is_drawn():
    absent = VirtualTime(seconds=0.0, until=9.0, joules=0.0, timeline=[Trip("a", "train.x", 9.0, 0, 0, 0, "absent")])
    tree = ElementTree.fromstring(timeline(RoundRecord(round=1, cohort=1, virtual=absent), "run"))
    assert len(bars(tree)[ENDS["absent"]]) == 1 and "1 not there" in words(tree)
    empty = VirtualTime(seconds=0.0, until=9.0, joules=0.0)
    assert bars(ElementTree.fromstring(timeline(RoundRecord(round=1, cohort=1, virtual=empty), "run"))) == {}


def test_any_name_gives_valid_xml():
    odd = Trip("a<b & \"c\"'d'", "train.x", 0.0, 1.0, 1.0, 1.0, "counted")
    time = VirtualTime(seconds=3.0, until=3.0, joules=0.0, timeline=[odd])
    assert odd.client in words(ElementTree.fromstring(timeline(RoundRecord(round=1, cohort=1, virtual=time), "r")))


def test_metrics_over_virtual_time_stand_at_the_ends_of_their_rounds():
    records = [
        RoundRecord(
            round=i, cohort=1, metrics={"loss": 1.0 / i}, virtual=VirtualTime(seconds=1.0, until=until, joules=0.0)
        )
        for i, until in enumerate((60.0, 120.0, 660.0), 1)
    ]
    tree = ElementTree.fromstring(over_time([*records, RoundRecord(round=4, cohort=1, metrics={"loss": 9.0})], "run"))
    (path,) = tree.iter(f"{SVG}polyline")
    xs = [float(point.split(",")[0]) for point in str(path.get("points")).split()]
    assert (xs[2] - xs[0]) == pytest.approx(10 * (xs[1] - xs[0]), abs=1)
    assert {"60.0 s", "11.0 min of virtual time"} <= set(words(tree))


def test_a_line_tells_virtual_time_to_a_millisecond_and_only_the_last_timeline_stays_in_memory(tmp_path):
    directory = RunDirectory(tmp_path / "run")
    first, second, last = round_of(3), round_of(2), RoundRecord(round=5, cohort=0, lost="nobody came")
    for record in (first, second, last):
        directory.round(record, lambda: {"w": np.zeros(1, np.float32)})
    directory.summary({})
    assert first.virtual is not None and first.virtual.timeline == []
    assert second.virtual is not None and len(second.virtual.timeline) == 4
    assert (tmp_path / "run" / "timeline.svg").read_text() == timeline(second, "run")
    assert (tmp_path / "run" / "virtual.svg").exists()
    assert (tmp_path / "run" / "metrics.jsonl").read_text().count('"fate": ') == 6 + 4
    assert "virtual" not in written(last)
    odd = VirtualTime(seconds=1.0, until=1.0, joules=0.0, timeline=[Trip("a", "e", 1 / 3, 0, 0, 0, "counted")])
    assert written(RoundRecord(round=1, cohort=1, virtual=odd))["virtual"]["timeline"][0]["at"] == 0.333


def test_a_closed_round_says_how_long_it_took_on_devices():
    assert "0/8 clients, 0.00 s (20.0 s of virtual time), " in line(round_of(8), 9)
