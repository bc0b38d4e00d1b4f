"""The laws of a client's state in two steps, and the disk on which it survives."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from hansa.fedclient.errors import StateLost
from hansa.fedclient.state import COMMITTED, STAGED, DiskStates, MemoryStates, Version, settle

TAGS = st.none() | st.tuples(st.integers(1, 3), st.integers(0, 1))


def version(tag):
    return None if tag is None else Version(tag, {"c": np.array(tag, np.float32)})


def kept(staged, committed):
    states = MemoryStates()
    states.write("run", "a", STAGED, version(staged))
    states.write("run", "a", COMMITTED, version(committed))
    return states


def outcome(states, counted):
    try:
        return {name: value.tolist() for name, value in settle(states, "run", "a", counted).items()}
    except StateLost:
        return "lost"


@given(TAGS, TAGS, TAGS)
@settings(max_examples=200, deadline=None)
def test_the_counted_state_is_promoted_all_else_dropped_and_nothing_made_up(staged, committed, counted):
    states = kept(staged, committed)
    here = {None: {}, staged: {"c": list(staged or ())}, committed: {"c": list(committed or ())}} | {None: {}}
    assert outcome(states, counted) == here.get(counted, "lost")
    assert states.read("run", "a", STAGED) is None
    after = states.read("run", "a", COMMITTED)
    assert (after and after.tag) == (counted if staged is not None and staged == counted else committed)


@given(TAGS, TAGS, TAGS)
@settings(max_examples=200, deadline=None)
def test_settling_again_changes_nothing(staged, committed, counted):
    states = kept(staged, committed)
    first = outcome(states, counted)
    before = dict(states.versions)
    assert outcome(states, counted) == first and states.versions == before


@given(TAGS, TAGS)
@settings(max_examples=50, deadline=None)
def test_a_crash_between_the_two_steps_of_settling_is_made_good(staged, committed):
    """The staged version was already written as committed, and is still staged."""
    halfway, whole = kept(staged, staged or committed), kept(staged, committed)
    assert outcome(halfway, staged) == outcome(whole, staged)
    assert {slot: v.tag for slot, v in halfway.versions.items()} == {s: v.tag for s, v in whole.versions.items()}


def test_runs_and_clients_do_not_see_each_others_states():
    states = kept((1, 0), None)
    assert settle(states, "run", "b", None) == settle(states, "other", "a", None) == {}
    assert settle(states, "run", "a", (1, 0))


def child(code, *words):
    return subprocess.run([sys.executable, "-c", CHILD + code, *map(str, words)], capture_output=True, text=True)


CHILD = """
import os, sys
from pathlib import Path
import numpy as np
from hansa.fedclient.state import COMMITTED, STAGED, DiskStates, Version, settle
states = DiskStates(Path(sys.argv[1]))
"""


def test_states_on_disk_survive_a_process(tmp_path):
    values = {"c": np.arange(3, dtype=np.float32), "steps": np.array(7), "empty": np.zeros((0, 2), np.uint16)}
    DiskStates(tmp_path / "new" / "folder").write("run", "Lübeck", STAGED, Version((2, 1), values))
    told = child(
        "found = settle(states, 'run', 'Lübeck', (2, 1))\n"
        "print(*((name, v.dtype, v.shape, v.tolist()) for name, v in sorted(found.items())))",
        tmp_path / "new" / "folder",
    )
    assert told.stdout.split("\n")[0] == (
        "('c', dtype('float32'), (3,), [0.0, 1.0, 2.0]) ('empty', dtype('uint16'), (0, 2), []) "
        "('steps', dtype('int64'), (), 7)"
    ), told.stderr
    assert DiskStates(tmp_path / "new" / "folder").read("run", "Lübeck", COMMITTED).tag == (2, 1)


@pytest.mark.parametrize(
    "at", ["os.fsync = die", "Path.replace = die"], ids=["before it is on disk", "before it is named"]
)
def test_a_crash_while_writing_leaves_the_old_version(tmp_path, at):
    states = DiskStates(tmp_path)
    states.write("run", "a", COMMITTED, version((1, 0)))
    died = child(
        f"die = lambda *_: os._exit(9)\n{at}\n"
        "states.write('run', 'a', COMMITTED, Version((2, 0), {'c': np.ones(2, np.float32)}))",
        tmp_path,
    )
    assert died.returncode == 9
    assert states.read("run", "a", COMMITTED).tag == (1, 0)
    states.write("run", "a", COMMITTED, version((3, 0)))
    assert states.read("run", "a", COMMITTED).tag == (3, 0)
    assert [path.name for path in (tmp_path / "run" / "a").iterdir()] == ["committed.safetensors"]


@pytest.mark.parametrize("damage", [b"", b"junk", b"\xff" * 100, None], ids=["empty", "junk", "huge header", "cut"])
def test_a_damaged_file_is_a_lost_state_and_is_not_made_new(tmp_path, damage):
    states = DiskStates(tmp_path)
    states.write("run", "a", COMMITTED, version((1, 0)))
    (path,) = tmp_path.rglob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-3] if damage is None else damage)
    for _ in range(2):
        with pytest.raises(StateLost, match=r"committed\.safetensors cannot be read .*restore it, or start a new run"):
            settle(states, "run", "a", (1, 0))


def test_a_file_of_something_else_is_a_lost_state(tmp_path):
    states = DiskStates(tmp_path)
    states.write("run", "a", COMMITTED, version((1, 0)))
    (path,) = tmp_path.rglob("*.safetensors")
    for forged in ({}, {"hansa.tag": np.zeros(0, np.int64)}, {"hansa.tag": np.zeros((), np.int64)}):
        save_file({"c": np.ones(2), **forged}, path)
        with pytest.raises(StateLost, match="cannot be read"):
            states.read("run", "a", COMMITTED)


ODD = ("", ".", "..", "...", "../..", "/", "/etc/passwd", "a/../b", "a\\b", "a\0b", "Lübeck ☃", "医" * 100, "x" * 5000)
ODD += ("%2E", "%", "%%", "CON", "~", "a b", "-rf", "committed.safetensors", "\n")


@pytest.mark.parametrize("name", ODD)
def test_odd_names_stay_two_folders_below_the_root(tmp_path, name):
    root = tmp_path / "far" / "below" / "states"
    states = DiskStates(root)
    states.write(name, name, STAGED, version((1, 0)))
    (written,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert written.parent.parent.parent == root and written.name == "staged.safetensors"
    assert settle(states, name, name, (1, 0))["c"].tolist() == [1, 0]
    states.write(name, name, COMMITTED, None)
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_no_two_names_share_a_folder(tmp_path):
    states = DiskStates(tmp_path)
    names = [*ODD, "x" * 5001, "医" * 101, "x" * 151, "x" * 150, "a", "b"]
    places = [(run, client) for run in names for client in names]
    for i, (run, client) in enumerate(places):
        states.write(run, client, STAGED, version((i, 0)))
    assert [states.read(run, client, STAGED).tag[0] for run, client in places] == list(range(len(places)))
