"""Folders that last as long as a process works with them, whatever else lies beside them."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import threading

import pytest

from hansa.simulations.errors import ScratchError
from hansa.simulations.scratch import LOCK, scratch

DIES = """
import os, sys
from pathlib import Path
from hansa.simulations.scratch import scratch
with scratch(Path(sys.argv[1]), "dead") as folder:
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "state").write_text("x")
    (folder / "link").symlink_to(sys.argv[2])
    os._exit(0)
"""


@pytest.fixture
def dead(tmp_path):
    """A folder whose process is dead, with a link to another, that has a file."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "kept").touch()
    subprocess.run([sys.executable, "-c", DIES, str(tmp_path), str(other)], check=True)
    assert (tmp_path / "hansa-dead" / "a" / "b" / "state").exists()
    return tmp_path / "hansa-dead"


def test_a_folder_is_its_users_alone_and_gone_in_the_end(tmp_path):
    with scratch(tmp_path / "new", "run") as folder:
        (folder / "state").touch()
        assert folder == tmp_path / "new" / "hansa-run" and folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()


def test_what_a_dead_process_left_is_swept_and_nothing_else(dead, tmp_path):
    (tmp_path / "hansa-foreign").mkdir()
    (tmp_path / "hansa-linked").symlink_to(tmp_path / "other")
    shutil.copytree(dead, tmp_path / ".states-dead", symlinks=True)
    with scratch(tmp_path, "living") as living, scratch(tmp_path, "second"):
        assert not dead.exists() and living.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".states-dead",
        "hansa-foreign",
        "hansa-linked",
        "other",
    ]
    assert (tmp_path / "other" / "kept").exists()


def test_a_folder_of_another_user_is_left_alone(dead, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with scratch(tmp_path):
        assert (dead / "a").exists()


def test_a_sweep_that_is_cut_off_is_finished_by_the_next(dead, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            scratch(tmp_path).__enter__()
    assert (dead / LOCK).exists()
    with scratch(tmp_path):
        assert not dead.exists()


def test_many_that_begin_at_once_do_not_sweep_each_other(tmp_path):
    gone, start = [], threading.Barrier(8)

    def work() -> None:
        start.wait()
        for _ in range(20):
            with scratch(tmp_path) as folder:
                gone.extend([] if (folder / LOCK).exists() else [folder])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not gone and not list(tmp_path.iterdir())


def test_where_a_file_system_has_no_locks_nothing_is_swept(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(38, "Function not implemented")))
        without = scratch(tmp_path, "unlocked")
        folder = without.__enter__()
        (folder / "state").touch()
    with scratch(tmp_path):
        assert (folder / "state").exists()
    without.__exit__(None, None, None)
    assert not folder.exists()


def test_a_place_where_no_folder_can_be_made_is_told_in_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ScratchError, match=r"cannot make .*hansa-x: .*: free some space, or mend its folder"):
        scratch(tmp_path / "file" / "below", "x").__enter__()
