"""A client's state moves in two steps, and is never silently made new."""

from __future__ import annotations

import numpy as np
import pytest

from hansa.fedclient.errors import StateLost
from hansa.fedclient.state import COMMITTED, STAGED, DiskStates, MemoryStates, Version, settle


def version(tag, value):
    return Version(tag, {"c": np.full(2, value, np.float32)})


@pytest.fixture(params=["memory", "disk"])
def states(request, tmp_path):
    return MemoryStates() if request.param == "memory" else DiskStates(tmp_path)


def test_what_was_counted_is_kept_and_asking_again_changes_nothing(states):
    states.write("run", "a", STAGED, version((1, 0), 1))
    for _ in range(2):
        assert settle(states, "run", "a", (1, 0))["c"].tolist() == [1, 1]
    assert states.read("run", "a", STAGED) is None


def test_what_was_not_counted_is_dropped(states):
    states.write("run", "a", COMMITTED, version((1, 0), 1))
    states.write("run", "a", STAGED, version((2, 0), 2))
    assert settle(states, "run", "a", (1, 0))["c"].tolist() == [1, 1]
    states.write("run", "b", STAGED, version((1, 0), 1))
    assert settle(states, "run", "b", None) == {}


def test_a_state_that_is_gone_is_reported(states):
    with pytest.raises(StateLost, match="client 'a' was counted in round 4 with a state that is not here"):
        settle(states, "run", "a", (4, 0))
    states.write("run", "a", COMMITTED, version((3, 0), 1))
    with pytest.raises(StateLost, match="restore its state_dir"):
        settle(states, "run", "a", (4, 0))


@pytest.mark.parametrize("name", ["../../etc", "a/b", "Lübeck ☃", "..", "."])
def test_odd_names_stay_inside_the_folder(tmp_path, name):
    states = DiskStates(tmp_path / "states")
    states.write(name, name, STAGED, version((1, 0), 1))
    assert states.read(name, name, STAGED).tag == (1, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["states"]


def test_an_unreadable_file_is_reported_and_half_a_write_is_not_read(tmp_path):
    states = DiskStates(tmp_path)
    states.write("run", "a", COMMITTED, version((1, 0), 1))
    (tmp_path / "run" / "a" / "committed.new").write_bytes(b"half")
    assert DiskStates(tmp_path).read("run", "a", COMMITTED).states["c"].tolist() == [1, 1]
    (tmp_path / "run" / "a" / "committed.safetensors").write_bytes(b"junk")
    with pytest.raises(StateLost, match="cannot be read"):
        states.read("run", "a", COMMITTED)
