"""A simulation in worker processes: a signal leaves nothing behind, and a worker that is killed changes nothing."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hansa.simulations.scratch import LOCK

CODE = "from hansa.conf.main import main; main()"
WORDS = (
    "simulate",
    "task=digits",
    "clients=8",
    "strategy=scaffold",
    "federation=processes",
    "workers=2",
)
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def started(folder: Path, *words: str, run: str = "run") -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-c", CODE, *WORDS, f"run_dir={run}", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def rounds(folder: Path, run: str = "run") -> int:
    lines = folder / run / "metrics.jsonl"
    return lines.read_text().count("\n") if lines.exists() else 0


def until_rounds(folder: Path, least: int, run: str = "run") -> None:
    end = time.monotonic() + 60
    while rounds(folder, run) < least:
        assert time.monotonic() < end, "no rounds"
        time.sleep(0.02)


def alive(process: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


def demand_nothing_left(folder: Path, workers: list[int], run_id: str) -> None:
    assert not any(map(alive, workers))
    assert [path.name for path in folder.iterdir()] == ["run"]
    assert not list(Path("/dev/shm").glob(f"hansa-{run_id}*"))


@pytest.mark.parametrize(
    ("how", "to"),
    [(signal.SIGINT, os.killpg), (signal.SIGINT, os.kill), (signal.SIGTERM, os.killpg), (signal.SIGHUP, os.kill)],
    ids=["Ctrl-C at a terminal", "SIGINT", "SIGTERM to the group", "SIGHUP"],
)
def test_a_signal_ends_it_with_no_process_memory_or_file_left(tmp_path, how, to):
    process = started(tmp_path / "here", "rounds=1000000")
    until_rounds(tmp_path / "here", 3)
    workers = children(process.pid)
    assert len(workers) == 2
    to(process.pid, how)
    out, err = process.communicate(timeout=60)
    summary = json.loads(out.splitlines()[-1])
    assert process.returncode == 130 and summary["stopped"] == "interrupted" and "Traceback" not in err
    assert summary == json.loads((tmp_path / "here" / "run" / "summary.json").read_text())
    demand_nothing_left(tmp_path / "here", workers, summary["run_id"])


def test_more_signals_do_not_disturb_the_end(tmp_path):
    process = started(tmp_path / "here", "rounds=1000000")
    until_rounds(tmp_path / "here", 1)
    workers = children(process.pid)
    while process.poll() is None:
        for how in ENDS:
            os.killpg(process.pid, how)
        time.sleep(0.001)
    out, err = process.communicate(timeout=60)
    summary = json.loads(out.splitlines()[-1])
    assert process.returncode == 130 and summary["stopped"] == "interrupted", err
    assert summary["rounds"] == rounds(tmp_path / "here")
    demand_nothing_left(tmp_path / "here", workers, summary["run_id"])


def test_a_terminal_that_closes_ends_it_in_order(tmp_path):
    (tmp_path / "here").mkdir()
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(tmp_path / "here")
        os.execv(sys.executable, [sys.executable, "-c", CODE, *WORDS, "rounds=1000000", "run_dir=run"])
    while rounds(tmp_path / "here") < 3:
        os.read(terminal, 2**16)
    workers = children(process)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 130
    summary = json.loads((tmp_path / "here" / "run" / "summary.json").read_text())
    assert summary["stopped"] == "interrupted"
    demand_nothing_left(tmp_path / "here", workers, summary["run_id"])


def folders(process: int) -> set[Path]:
    """The folders that a process has locked."""
    files = (os.readlink(path) for path in Path(f"/proc/{process}/fd").iterdir())
    return {Path(file).parent for file in files if file.endswith(LOCK)}


def test_workers_end_with_the_command_however_it_dies_and_the_next_one_sweeps_what_it_left(tmp_path):
    dead, living = (started(tmp_path / "here", "rounds=1000000", run=name) for name in ("dead", "living"))
    for name in ("dead", "living"):
        until_rounds(tmp_path / "here", 1, name)
    workers, left, kept = children(dead.pid), folders(dead.pid), folders(living.pid)
    dead.kill()
    dead.communicate()
    end = time.monotonic() + 60
    while any(map(alive, workers)):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert len(left) == len(kept) == 3 and all(folder.exists() for folder in left | kept)
    third = started(tmp_path / "here", "rounds=1", run="third")
    third.communicate(timeout=60)
    assert third.returncode == 0 and not any(folder.exists() for folder in left)
    assert all(folder.exists() for folder in kept)
    living.send_signal(signal.SIGTERM)
    assert json.loads(living.communicate(timeout=60)[0].splitlines()[-1])["failures"] == 0
    assert not any(folder.exists() for folder in kept)


def test_workers_that_are_killed_in_mid_run_change_nothing(tmp_path):
    quiet = started(tmp_path / "quiet", "rounds=60")
    expected = json.loads(quiet.communicate(timeout=120)[0].splitlines()[-1])
    process, killed = started(tmp_path / "loud", "rounds=60"), 0
    for number in (2, 10, 20, 30, 40):
        until_rounds(tmp_path / "loud", number)
        if workers := children(process.pid):
            os.kill(workers[number % len(workers)], signal.SIGKILL)
            killed += 1
    summary = json.loads(process.communicate(timeout=120)[0].splitlines()[-1])
    assert killed == 5 and summary["model_sha256"] == expected["model_sha256"]
    assert (summary["failures"], summary["stopped"]) == (0, "finished")
