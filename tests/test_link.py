"""The same bits in three places: simulation, SuperLink (see test_superlink.py), and Hansa's link between processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from hansa.conf.compose import compose
from hansa.conf.simulate import prepare
from tests.fleet import fleet, until
from tests.places import HOSPITALS

SETTINGS = ("task=heart_disease", "seed=1", "rounds=20")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def simulated(folder: Path, *settings: str) -> str:
    with prepare(*compose([*settings, f"run_dir={folder}"])) as runner:
        runner.carry_out()
    return str(runner.summary["model_sha256"])


def test_four_processes_learn_the_model_of_the_simulation_though_one_is_killed_in_mid_run(tmp_path):
    with fleet(tmp_path) as there:
        there.provision(*HOSPITALS)
        for name in HOSPITALS:
            there.join(name)
        for strategy in ("fedavg", "scaffold"):
            lines = tmp_path / strategy / "metrics.jsonl"
            settings = (*SETTINGS, f"strategy={strategy}")
            own = (f"listen=127.0.0.1:{there.port}", "patience=120", f"run_dir={strategy}")
            there.start("serve", "serve", "plants", *own, *settings)
            until(lambda lines=lines: lines.exists() and lines.read_text().count("\n") > 5, lambda: there.log("serve"))
            there.kill("hungary")
            there.start("hungary", "join", "hansa-hungary")
            told = there.served()
            assert told["model_sha256"] == simulated(tmp_path / f"{strategy}-simulated", *settings)
            assert (told["stopped"], told["failures"], told["rounds"]) == ("finished", 0, 20)
        assert there.log("serve").count("hungary is gone") == 2
