"""A simulation in worker processes: Ctrl-C leaves nothing behind, and a worker that is killed changes nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

CODE = "from hansa.conf.main import main; main()"
WORDS = (
    "simulate",
    "task=digits",
    "clients=8",
    "strategy=scaffold",
    "federation=processes",
    "workers=2",
    "run_dir=run",
)


def started(folder: Path, *words: str) -> subprocess.Popen[str]:
    folder.mkdir()
    return subprocess.Popen(
        [sys.executable, "-c", CODE, *WORDS, *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def until_rounds(folder: Path, rounds: int) -> None:
    lines, end = folder / "run" / "metrics.jsonl", time.monotonic() + 60
    while not lines.exists() or lines.read_text().count("\n") < rounds:
        assert time.monotonic() < end, "no rounds"
        time.sleep(0.02)


def alive(process: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


@pytest.mark.parametrize("to_all", [True, False], ids=["from a terminal", "to the command alone"])
def test_ctrl_c_ends_it_with_no_process_memory_or_file_left(tmp_path, to_all):
    process = started(tmp_path / "here", "rounds=1000000")
    until_rounds(tmp_path / "here", 3)
    workers = children(process.pid)
    assert len(workers) == 2
    (os.killpg if to_all else os.kill)(process.pid, signal.SIGINT)
    start = time.monotonic()
    out, err = process.communicate(timeout=20)
    assert time.monotonic() - start < 5, "one second on a machine that is not busy"
    summary = json.loads(out.splitlines()[-1])
    assert process.returncode == 130 and summary["stopped"] == "interrupted" and "Traceback" not in err
    assert not any(map(alive, workers))
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["run"]
    assert not list(Path("/dev/shm").glob(f"hansa-{summary['run_id']}*"))


def test_workers_end_with_the_command_however_it_dies(tmp_path):
    process = started(tmp_path / "here", "rounds=1000000")
    until_rounds(tmp_path / "here", 1)
    workers = children(process.pid)
    process.kill()
    process.communicate()
    end = time.monotonic() + 10
    while any(map(alive, workers)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(alive, workers))


def test_workers_that_are_killed_in_mid_run_change_nothing(tmp_path):
    quiet = started(tmp_path / "quiet", "rounds=60")
    expected = json.loads(quiet.communicate(timeout=120)[0].splitlines()[-1])
    process, killed = started(tmp_path / "loud", "rounds=60"), 0
    for rounds in (2, 10, 20, 30, 40):
        until_rounds(tmp_path / "loud", rounds)
        if workers := children(process.pid):
            os.kill(workers[rounds % len(workers)], signal.SIGKILL)
            killed += 1
    summary = json.loads(process.communicate(timeout=120)[0].splitlines()[-1])
    assert killed == 5 and summary["model_sha256"] == expected["model_sha256"]
    assert (summary["failures"], summary["stopped"]) == (0, "finished")
