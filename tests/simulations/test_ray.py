"""Workers on a Ray cluster: the same bits as inline, whatever dies, and nothing is left when a run is over."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

ray_cluster = pytest.importorskip("hansa.simulations.ray_cluster", reason="needs Ray: pip install 'hansa[ray]'")

import ray  # noqa: E402
import ray._private.worker as driver  # noqa: E402
from ray.cluster_utils import Cluster  # noqa: E402

from hansa.conf.compose import compose, own_code  # noqa: E402
from hansa.conf.simulate import prepare  # noqa: E402
from hansa.simulations.errors import EngineError, WorkerDied  # noqa: E402
from hansa.simulations.ray_request import RayRequest  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:unclosed file.*/dev/null:ResourceWarning")  # that Ray itself opens

SAME = ("model_sha256", "metrics", "bytes_up", "bytes_down", "clients", "failures", "stopped")
CASES = {
    "fedavg": (),
    "scaffold, a sampled cohort": ("strategy=scaffold", "cohort.size=3"),
    "rows": ("strategy=median",),
}
CODE = "from hansa.conf.main import main; main()"

FATAL = """
from dataclasses import dataclass
import os
from hansa.fedtasks.digits import Digits

@dataclass(frozen=True, kw_only=True)
class Fatal(Digits):
    def data(self, client):
        if client == "client-2":
            os.kill(os.getpid(), 9)
        return super().data(client)
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two nodes, with a core for a worker each, which detect a dead one soon."""
    soon = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 2}
    folder = tempfile.mkdtemp(prefix="ray-")
    os.mkdir(f"{folder}/ray")  # Ray notes its last address there, and makes the folder on a machine's first start only
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        nodes = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False, "_system_config": soon}
        )
        nodes.add_node(num_cpus=1)
        yield nodes
        nodes.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


def simulated(folder: Path, *settings: str, prepared=lambda: None):
    words = own_code(["task=digits", "clients=5", "rounds=2", f"run_dir={folder / 'run'}", *settings])
    with prepare(*compose(words)) as runner:
        prepared()
        runner.carry_out()
    return runner.summary


def on(cluster: Cluster, workers: int) -> list[str]:
    return ["federation=ray", f"ray_address={cluster.address}", f"workers={workers}"]


def same(summary) -> dict[str, object]:
    return {name: summary[name] for name in SAME}


@pytest.mark.parametrize(("case", "workers"), list(zip(CASES, (1, 2, 3), strict=True)))
def test_ray_learns_the_bits_of_inline_with_any_number_of_workers(cluster, case, workers, tmp_path):
    alone = simulated(tmp_path / "alone", *CASES[case], "federation=inline")
    there = simulated(tmp_path / "there", *CASES[case], *on(cluster, workers))
    assert same(there) == same(alone)
    assert (there["engine"], there["workers"], there["exact"]) == ("ray", workers, True)
    assert not ray.is_initialized()


@pytest.mark.slow
def test_a_node_that_goes_in_mid_run_changes_no_bit(cluster, tmp_path, monkeypatch):
    words = ["strategy=scaffold", "clients=12", "cohort.size=8"]
    alone = simulated(tmp_path / "alone", *words, "federation=inline")
    node, lost = cluster.add_node(num_cpus=1), []
    hand_out, hear, lose = RayRequest._hand_out, RayRequest._hear, RayRequest._lose

    def when_all_are_there(request):
        if len(request.crew.ready) == 4 or node not in cluster.worker_nodes:
            hand_out(request)

    def after_the_node_went(request, ref):
        if len(request.shares) == 4 and node in cluster.worker_nodes:
            cluster.remove_node(node, allow_graceful=False)
        return hear(request, ref)

    def noted(request, share, error):
        lost.append(share.number)
        lose(request, share, error)

    monkeypatch.setattr(RayRequest, "_hand_out", when_all_are_there)
    monkeypatch.setattr(RayRequest, "_hear", after_the_node_went)
    monkeypatch.setattr(RayRequest, "_lose", noted)
    there = simulated(tmp_path / "there", *words, *on(cluster, 4))
    assert len(lost) == 1 and same(there) == same(alone)


def test_after_the_deadline_only_what_was_begun_comes_back(cluster, tmp_path, monkeypatch, capsys):
    hand_out = RayRequest._hand_out
    monkeypatch.setattr(RayRequest, "_hand_out", lambda request: (hand_out(request), time.sleep(bool(request.waiting))))
    simulated(tmp_path, "rounds=1", "cohort.deadline=1", *on(cluster, 1))
    assert "round 1/1: 2/5 clients" in capsys.readouterr().err


def test_a_client_over_which_two_workers_die_is_named(cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("fatal.py").write_text(FATAL)
    with pytest.raises(WorkerDied, match=r"2 workers ended.*over client client-2:"):
        simulated(tmp_path, "task=./fatal.py:Fatal", *on(cluster, 2))


def test_a_node_with_another_file_or_none_is_refused_by_name(cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file, words = Path("fatal.py"), ["task=./fatal.py:Fatal", *on(cluster, 1)]
    file.write_text(FATAL)
    with pytest.raises(EngineError, match=rf"node {socket.gethostname()}: .*task file"):
        simulated(tmp_path / "a", *words, prepared=lambda: file.write_text(FATAL + "# not the same\n"))
    with pytest.raises(EngineError, match=r"a worker cannot begin: .*fatal\.py.*every node needs this run's files"):
        simulated(tmp_path / "b", *words, prepared=file.unlink)


class Held:
    """Someone else's actor, which holds a core."""

    def here(self) -> bool:
        return True


def test_workers_that_find_no_room_are_told_of(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr("hansa.simulations.ray_crew.COMING", 0.5)
    held = []

    def fill_up() -> None:
        held.extend(ray.remote(Held).options(num_cpus=1).remote() for _ in range(3))
        ray.get([one.here.remote() for one in held])

    with pytest.raises(EngineError, match=r"none of 1 workers could begin within 0\.5 s: ray status shows"):
        simulated(tmp_path, *on(cluster, 1), prepared=fill_up)


def test_what_ray_tells_of_goes_to_standard_error(capsys):
    driver.print_to_stdstream({"lines": ["a node died"], "pid": "raylet", "is_err": False}, ignore_prefix=False)
    out, err = capsys.readouterr()
    assert out == "" and "a node died" in err


def test_an_address_where_no_ray_answers_is_told_soon(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_cluster, "ANSWERING", 3.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port, begin = silent.getsockname()[1], time.monotonic()
        with pytest.raises(EngineError, match=rf"127\.0\.0\.1:{port}: what is there does not answer as Ray within 3 s"):
            simulated(tmp_path, "federation=ray", f"ray_address=127.0.0.1:{port}")
    with pytest.raises(EngineError, match=rf"127\.0\.0\.1:{port}: nobody answers there .*ray start --head"):
        simulated(tmp_path, "federation=ray", f"ray_address=127.0.0.1:{port}")
    assert time.monotonic() - begin < 20


@pytest.mark.parametrize("address", ["elsewhere", "ray://127.0.0.1:10001", "127.0.0.1:"])
def test_an_address_that_cannot_be_one_is_refused(tmp_path, address):
    with pytest.raises(EngineError, match=f"ray_address={address}: it is auto, host:port"):
        simulated(tmp_path, "federation=ray", f"ray_address='{address}'")


def marked(mark: str) -> list[int]:
    """The processes that have a mark in their environment, which all that they begin inherit."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def started(folder: Path, rounds: int, mark: str, run: str) -> subprocess.Popen[str]:
    """The command with a cluster of its own, as a group of processes, with its temporary files in a folder."""
    words = ["task=digits", "clients=4", f"rounds={rounds}", "federation=ray", "workers=1", f"run_dir={run}"]
    return subprocess.Popen(
        [sys.executable, "-c", CODE, "simulate", *words],
        cwd=folder,
        env={**os.environ, "MARK": mark, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.slow
def test_no_process_and_no_folder_is_left_at_the_end_and_after_a_signal():
    mark, folder = uuid.uuid4().hex, Path(tempfile.mkdtemp(prefix="t-"))
    short, *long = (started(folder, n, mark, run) for n, run in ((1, "short"), (100_000, "int"), (100_000, "term")))
    for command, how in zip(long, (signal.SIGINT, signal.SIGTERM), strict=True):
        assert command.stderr is not None
        assert any(line.startswith("round 2") for line in command.stderr)
        assert len(marked(mark)) > 3
        (os.killpg if how == signal.SIGINT else os.kill)(command.pid, how)
    for command, code in ((short, 0), *((command, 130) for command in long)):
        out, told = command.communicate(timeout=60)
        assert command.returncode == code and "Traceback" not in told, told
        assert json.loads(out.splitlines()[-1])["stopped"] == ("interrupted" if code else "finished")
    end = time.monotonic() + 10
    while marked(mark) and time.monotonic() < end:
        time.sleep(0.1)
    assert not marked(mark)
    assert sorted(path.name for path in folder.iterdir()) == ["int", "short", "term"]
    shutil.rmtree(folder)
