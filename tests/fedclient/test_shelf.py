"""What clients keep of runs goes by age and by size, and never what the present run needs."""

from __future__ import annotations

import os

import numpy as np
import pytest

from hansa.fedclient import shelf
from hansa.fedclient.errors import BeyondLimits
from hansa.fedclient.shelf import DAY, Shelf
from hansa.fedclient.state import COMMITTED, STAGED, DiskStates, Version

NOW = 100 * DAY


@pytest.fixture
def kept(tmp_path):
    """A shelf with room for 10,000 bytes, and what puts states of 1,000 there that are so many days old."""

    def put(name: str, days: float, slot: str = "committed") -> None:
        path = tmp_path / name if name.startswith("flower/") else tmp_path / name / "client" / f"{slot}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(1000))
        os.utime(path, (NOW - days * DAY,) * 2)

    return Shelf(root=tmp_path, most=10_000, days=30), put


def there(root) -> set[str]:
    return {str(path.relative_to(root)) for path in (*root.glob("*"), *root.glob("flower/*")) if path.name != "flower"}


def test_what_nobody_came_back_to_goes_and_the_present_run_stays_however_old(kept, tmp_path):
    box, put = kept
    for name, days in (("old", 31), ("young", 29), ("present", 90), ("flower/7", 31), ("flower/8", 29)):
        put(name, days)
    put("both", 90)
    put("both", 1, "staged")
    box.sweep("present", NOW)
    assert there(tmp_path) == {"young", "present", "flower/8", "both"}
    put("flower/9", 90)
    box.sweep("9", NOW)
    assert there(tmp_path) == {"young", "flower/8", "flower/9", "both"}


def test_where_room_is_wanted_the_oldest_go_first_and_those_that_wait_to_be_counted_last(kept, tmp_path):
    box, put = kept
    for days in range(1, 7):
        put(f"r{days}", days)
    put("waits", 20, "staged")
    put("present", 25)
    box.sweep("present", NOW, 2000)
    assert "r6" in there(tmp_path), "there is room"
    box.sweep("present", NOW, 4000)
    assert there(tmp_path) == {"r1", "r2", "r3", "r4", "waits", "present"}
    box.sweep("present", NOW, 9000)
    assert there(tmp_path) == {"present"}
    with pytest.raises(BeyondLimits, match=r"the states of this run have 10,001 bytes, and the device gives 10,000"):
        box.sweep("present", NOW, 9001)
    assert there(tmp_path) == {"present"}


def test_runs_are_bounded_in_number_too(kept, tmp_path, monkeypatch):
    box, put = kept
    monkeypatch.setattr(shelf, "MOST", 3)
    for days in range(1, 6):
        put(f"r{days}", days)
    put("present", 6)
    box.sweep("present", NOW)
    assert there(tmp_path) == {"r1", "r2", "present"}


@pytest.mark.parametrize("run", ["..", "/", "../..", "", "a/b", "flower"])
def test_the_name_of_a_run_is_no_path(kept, tmp_path, run):
    box, put = kept
    (tmp_path.parent / "beside").write_text("stays")
    put("old", 31)
    box.sweep(run, NOW)
    assert there(tmp_path) == set() and (tmp_path.parent / "beside").exists()


def test_links_are_not_followed_out_of_the_shelf(kept, tmp_path, tmp_path_factory):
    box, put = kept
    outside = tmp_path_factory.mktemp("outside")
    (outside / "file").write_text("stays")
    os.utime(outside / "file", (0, 0))
    put("old", 31)
    (tmp_path / "link").symlink_to(outside)
    box.sweep("present", NOW)
    assert (outside / "file").exists() and not (tmp_path / "old").exists()


def test_a_state_that_has_no_room_is_not_written_and_others_make_room_for_one_that_has(tmp_path):
    states = DiskStates(tmp_path, shelf=Shelf(root=tmp_path, most=15_000, days=30))
    small, large = (Version((1, 0), {"c": np.zeros(n, np.float32)}) for n in (1000, 10_000))
    states.write("first", "a", COMMITTED, small)
    states.write("second", "a", STAGED, small)
    assert states.read("first", "a", COMMITTED) is not None
    states.write("third", "a", COMMITTED, small)
    assert states.read("first", "a", COMMITTED) is None and states.read("second", "a", STAGED) is not None
    with pytest.raises(BeyondLimits, match=r"states in site.yaml"):
        states.write("third", "a", STAGED, large)
    assert states.read("third", "a", COMMITTED) is not None and states.read("third", "a", STAGED) is None
    assert states.read("second", "a", STAGED) is not None, "nothing goes for what has no room anyhow"
