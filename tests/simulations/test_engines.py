"""Engines: the same bits by any of them, with any number of workers, and after a worker's death."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from hansa.conf.compose import compose
from hansa.conf.simulate import prepare
from hansa.fedclient.state import Version
from hansa.simulations.errors import ClientFailed, EngineError, WorkerDied
from hansa.simulations.pool import Pool
from hansa.simulations.states import SharedStates

CASES = {
    "fedavg": (),
    "scaffold, a sampled cohort": ("strategy=scaffold", "cohort.size=3"),
    "rows": ("strategy=median",),
    "buckets of rows": ("strategy=bucketing",),
    "several requests and a state": ("strategy=rfa",),
    "16 bits": ("pipeline=quantised", "cohort.max=64", "evaluation.by_client=true"),
}


def simulated(folder: Path, *settings: str):
    words = ["task=digits", "clients=5", "rounds=3", f"run_dir={folder / 'run'}", *settings]
    with prepare(*compose(words)) as runner:
        runner.carry_out()
    return runner


@pytest.mark.parametrize("strategy", ["ditto", "fine_tuning"])
def test_own_models_are_evaluated_beside_the_common_one_to_the_same_bits(tmp_path, strategy):
    words = ["task=heart_disease", "rounds=3", f"strategy={strategy}", "client.epochs=3"]
    runs = []
    for federation in ("inline", "processes"):
        run_dir = tmp_path / federation
        with prepare(*compose([*words, f"federation={federation}", f"run_dir={run_dir}"])) as runner:
            runner.carry_out()
        runs.append(runner.summary)
    assert runs[0]["metrics"] == runs[1]["metrics"] and runs[0]["model_sha256"] == runs[1]["model_sha256"]
    assert runs[0]["metrics"]["personal_loss"] < runs[0]["metrics"]["loss"]


@pytest.mark.parametrize("case", CASES)
def test_processes_learn_the_bits_of_inline_with_any_number_of_workers(case, tmp_path):
    alone = simulated(tmp_path / "alone", *CASES[case], "federation=inline").summary
    for workers in (1, 3):
        there = simulated(tmp_path / str(workers), *CASES[case], "federation=processes", f"workers={workers}").summary
        same = ("model_sha256", "metrics", "bytes_up", "bytes_down", "clients", "failures", "stopped")
        assert {name: there[name] for name in same} == {name: alone[name] for name in same}
        assert (there["engine"], there["workers"], there["exact"]) == ("processes", workers, True)
    assert not list(Path("/dev/shm").glob(f"hansa-{there['run_id']}*"))


def test_states_on_disk_are_states(tmp_path):
    near = simulated(tmp_path / "near", "strategy=scaffold", "federation=processes").summary
    far = simulated(tmp_path / "far", "strategy=scaffold", "federation=processes", "state_memory=0.0").summary
    assert near["model_sha256"] == far["model_sha256"]
    assert [path.name for path in (tmp_path / "far").iterdir()] == ["run"]


def test_auto_says_what_it_took_and_why(tmp_path, capsys):
    summary = simulated(tmp_path, "rounds=1").summary
    told = capsys.readouterr().err
    assert f"federation={summary['engine']}: a trial of a few clients expects" in told and summary["exact"] is True


class Killing:
    """A crew whose worker is killed in mid-work, the first ``times``; it counts its lives in a file."""

    def __init__(self, folder: Path, times: int) -> None:
        self.folder, self.times = folder, times

    def start(self, job, shared, own) -> None:
        self.sum = own.array("sum")

    def do(self, item: int) -> None:
        deaths = len(list(self.folder.iterdir()))
        if item == 3 and deaths < self.times:
            (self.folder / str(deaths)).touch()
            self.sum[0] += 1000
            os.kill(os.getpid(), signal.SIGKILL)
        self.sum[0] += item

    def finish(self) -> int:
        return int(self.sum[0])


class Numbers:
    def told(self, item: int) -> str:
        return f"client {'abcdefgh'[item]}"


def worked(pool: Pool) -> list:
    from hansa.simulations.sheet import plan

    return list(pool.work(Numbers(), 8, [], plan({"sum": ((1,), np.dtype(np.int64))})))


def test_a_killed_workers_items_are_done_again_by_another(tmp_path):
    with closing(Pool(Killing(tmp_path, 1), 2)) as pool:
        events = worked(pool)
        assert sum(event.value for event in events if hasattr(event, "value")) == sum(range(8))
        assert sorted(item for event in events if type(event).__name__ == "Done" for item in event.items) == list(
            range(8)
        )
        assert sum(event.value for event in worked(pool) if hasattr(event, "value")) == sum(range(8))
        processes = [member.process for member in pool._members]
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_an_item_that_kills_its_worker_twice_ends_the_run_by_name(tmp_path):
    with closing(Pool(Killing(tmp_path, 9), 2)) as pool, pytest.raises(WorkerDied, match=r"signal 9.*client d"):
        worked(pool)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["federation=porcesses"], "federation=porcesses: it is one of auto, fast, inline, processes"),
        (["workers=0"], "workers=0: it must be at least 1"),
        (["federation=processes", "debug=true"], "debug=true takes one client at a time"),
        (["federation=ray", "debug=true"], "debug=true takes one client at a time"),
        (["ray_address=auto"], "ray_address=auto does nothing with federation=auto"),
    ],
)
def test_engines_that_cannot_be_are_refused(tmp_path, words, told):
    with pytest.raises(EngineError, match=told):
        simulated(tmp_path, *words)


def test_without_ray_its_engine_says_how_to_install_it(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("hansa.simulations.ray_")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EngineError, match=r"federation=ray: .*pip install 'hansa\[ray\]'"):
        simulated(tmp_path, "federation=ray")


def test_ray_is_imported_by_no_other_engine():
    code = "import hansa.conf.simulate, sys; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_debug_ends_at_the_first_error_and_says_where_it_arose(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "bergen.csv").write_text("age\n1\n")
    words = ["task=heart_disease", f"task.data_dir={tmp_path / 'data'}", "debug=true", f"run_dir={tmp_path / 'run'}"]
    told = r"client 'bergen', round 0, query\.moments, stage 'loading data': DataError.*its data cannot be read"
    with prepare(*compose(words)) as runner, pytest.raises(ClientFailed, match=told):
        runner.carry_out()


def test_states_stay_within_their_memory_and_are_found_wherever_they_lie(tmp_path):
    with closing(SharedStates(tmp_path / "near", tmp_path / "far", limit=3000)) as states:
        assert states.read("r", "a", "staged") is None
        for name in "abcd":
            states.write("r", name, "staged", Version((1, 0), {"x": np.full(250, ord(name), np.float32)}))
        assert len(list((tmp_path / "near").rglob("*.safetensors"))) == 2
        for name in "abcd":
            version = states.read("r", name, "staged")
            assert version is not None and version.states["x"][0] == ord(name)
        for name in "ab":
            states.write("r", name, "staged", None)
            assert states.read("r", name, "staged") is None
        states.write("r", "c", "staged", Version((2, 0), {"x": np.zeros(250, np.float32)}))
        assert (states.read("r", "c", "staged") or Version((0, 0), {})).tag == (2, 0)
        assert len(list((tmp_path / "near").rglob("*.safetensors"))) == 1
