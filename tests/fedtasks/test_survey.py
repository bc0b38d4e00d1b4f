"""What is said and drawn of a partition is what the clients have."""

from __future__ import annotations

import io
import re
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import TensorDataset

from hansa.fedtasks import Data, OptionError, Task, names
from hansa.fedtasks.canvas import Rule, Words, box, to_png, to_svg
from hansa.fedtasks.examples import targets
from hansa.fedtasks.survey import Survey, survey
from hansa.fedtasks.survey_picture import LEFT, PALETTE, PANEL, RIGHT, TOP, WIDTH, picture


class Given(Task):
    """Clients with given targets."""

    def __init__(self, *targets):
        self.targets = targets

    def clients(self):
        return names(len(self.targets))

    def model(self):
        return nn.Linear(1, 1)

    def data(self, client):
        target = torch.as_tensor(self.targets[self.clients().index(client)])
        return Data(TensorDataset(torch.zeros(len(target), 1), target))


def counted(counts_KC):
    counts_KC = np.asarray(counts_KC)
    clients, labels = counts_KC.shape
    return Survey(
        clients=names(clients),
        population=clients,
        sizes_K=counts_KC.sum(1),
        labels_C=np.arange(labels),
        counts_KC=counts_KC,
    )


def drawn(found):
    shapes, width, height = picture(found, "a <title>")
    tree = ElementTree.fromstring(to_svg(shapes, width, height, "a <title>"))
    return tree, [(element.tag.rpartition("}")[2], element) for element in tree.iter()]


def words(found):
    return [element.text for tag, element in drawn(found)[1] if tag == "text"]


def areas(found):
    """Fill and bounds of every area."""
    for tag, element in drawn(found)[1]:
        if tag == "polygon":
            points = np.array([[float(x) for x in point.split(",")] for point in element.get("points").split()])
            yield element.get("fill"), *points.min(0), *points.max(0)


def test_counts_are_those_of_the_clients():
    found = survey(Given([0, 0, 2], [2, 5]), 10)
    assert found.labels_C.tolist() == [0, 2, 5] and found.counts_KC.tolist() == [[2, 1, 0], [0, 1, 1]]
    assert found.sizes_K.tolist() == [3, 2] and found.population == 2


@pytest.mark.parametrize(
    ("counts", "imbalance"),
    [([[5, 5], [1, 1]], 0.0), ([[5, 0], [0, 5]], 0.5), (np.eye(10) * 3, 0.9), ([[4, 0], [0, 4], [0, 0]], 0.5)],
)
def test_the_imbalance_is_the_mean_distance_of_labels(counts, imbalance):
    assert counted(np.asarray(counts, int)).imbalance == pytest.approx(imbalance)


@pytest.mark.parametrize("target", [[0.5, 1.0], [[0, 1], [1, 0]], list(range(1001))])
def test_amounts_are_no_labels(target):
    found = survey(Given([0, 1] if np.ndim(target) == 1 else [[0, 1]], target), 10)
    assert found.counts_KC.shape == (2, 0) and len(found.labels_C) == 0
    assert [line.split()[0] for line in found.lines()] == ["clients", "examples"]
    assert "labels" not in words(found) and len(list(areas(found))) == 2


def test_whole_numbers_written_as_floats_are_labels():
    assert survey(Given([0.0, 1.0], [1.0]), 10).labels_C.tolist() == [0, 1]


def test_of_many_clients_some_are_looked_at_evenly():
    found = survey(Given(*[[0]] * 100), 5)
    assert found.clients == ["client-00", "client-25", "client-50", "client-74", "client-99"]
    assert next(found.lines()) == "clients    5 of 100" and "5 of 100 clients, 5 examples" in words(found)[1]
    with pytest.raises(OptionError, match="most=0: look at one client at least"):
        survey(Given([0]), 0)


def test_targets_are_read_without_inputs_where_that_is_possible():
    class Lazy:
        targets = (3, 4)

        def __len__(self):
            return 2

        def __getitem__(self, index):
            raise AssertionError("an input was read")

    class Pairs:
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return torch.zeros(1), index

    assert targets(Lazy()).tolist() == [3, 4] and targets(Pairs()).tolist() == [0, 1, 2]
    assert len(targets(TensorDataset(torch.zeros(0, 1), torch.zeros(0)))) == 0


def test_a_column_is_as_high_as_its_client_has_examples():
    found = counted([[10, 0], [20, 20]])
    above = [area for area in areas(found) if area[4] <= TOP + PANEL]
    assert [(fill, round(bottom - top)) for fill, _, top, _, bottom in above] == [
        (PALETTE[0], PANEL // 4),
        (PALETTE[0], PANEL // 2),
        (PALETTE[1], PANEL // 2),
    ]
    below = [area for area in areas(found) if area[4] > TOP + PANEL and area[4] - area[2] > 12]
    assert [round(bottom - top) for _, _, top, _, bottom in below] == [PANEL, PANEL // 2, PANEL // 2]
    assert {"client-0", "client-1", "0", "1", "labels", "imbalance"} <= {*words(found), "imbalance"}


@pytest.mark.parametrize("clients", [1, 2, 24, 60, 61, 1000])
@pytest.mark.parametrize("labels", [1, 10, 11, 100])
def test_all_is_drawn_within_the_picture(clients, labels):
    found = counted(np.random.default_rng(0).integers(0, 9, (clients, labels)) + np.eye(clients, labels, dtype=int))
    tree, _ = drawn(found)
    for fill, left, top, right, bottom in areas(found):
        assert LEFT - 0.01 <= left <= right <= WIDTH - RIGHT + 0.01 and 0 < top <= bottom < float(tree.get("height"))
        assert re.fullmatch("#[0-9a-f]{6}", fill)


def test_many_clients_run_together_to_few_shapes():
    found = counted(np.random.default_rng(0).integers(0, 99, (1000, 10)))
    fills = [fill for fill, *_ in areas(found)]
    assert len(fills) == 1 + 10 + 10 and set(PALETTE) < set(fills)
    assert {"largest", "smallest", "clients, by the label of which they have most"} <= set(words(found))


def test_sizes_of_very_different_clients_are_on_a_logarithmic_scale():
    assert any("logarithmic" in text for text in words(counted([[1], *[[20]] * 98, [9000]])))
    assert {"1", "10", "100", "1,000", "10,000"} <= set(words(counted([[1], *[[20]] * 98, [9000]])))
    assert not any("logarithmic" in text for text in words(counted([[1], *[[20]] * 98, [500]])))
    assert not any("logarithmic" in text for text in words(counted([[1], [20], [9000]])))


def test_names_that_do_not_fit_are_left_to_the_ends():
    long = counted(np.ones((30, 1), int))
    assert [text for text in words(long) if re.fullmatch(r"\d\d", text)][:3] == ["00", "01", "02"]
    object.__setattr__(long, "clients", [f"a-very-long-name-{k}" for k in range(30)])
    assert [text for text in words(long) if "long" in text] == ["a-very-long-name-0", "a-very-long-name-29"] * 2


def test_a_png_shows_what_the_svg_shows():
    shapes = [
        box(10, 10, 20, 10, "#ff0000"),
        Rule(start=(0, 40), end=(60, 40)),
        Words(at=(30, 30), text="x", bold=True),
    ]
    image = Image.open(io.BytesIO(to_png(shapes, 60, 50)))
    assert image.size == (120, 100)
    assert image.getpixel((40, 30)) == (255, 0, 0) and image.getpixel((10, 10)) == (255, 255, 255)
    assert image.getpixel((60, 80)) == (203, 210, 217) and image.crop((56, 40, 74, 62)).getextrema()[0][0] < 100


def test_a_png_without_pillow_is_refused_with_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(OptionError, match=r"pip install 'hansa\[images\]', or ask for an \.svg"):
        to_png([], 1, 1)


def test_words_of_others_are_escaped():
    assert "a &lt;title&gt;" in to_svg(*picture(counted([[1]]), "a <title>"), "a <title>")
