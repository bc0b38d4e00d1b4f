"""The same bits in both places: the inline simulation, and Flower's SuperLink with a SuperNode for each hospital."""

from __future__ import annotations

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hansa.conf.compose import compose
from hansa.conf.simulate import prepare

SCRIPT = Path(__file__).parents[1] / "examples" / "flower_superlink" / "run.py"
SETTINGS = ("task=heart_disease", "seed=1", "rounds=3", "evaluation.every=0")

CASES = {
    "fedavg": ("strategy=fedavg",),
    "scaffold-sampled": ("strategy=scaffold", "cohort.size=2"),
}

pytestmark = [pytest.mark.superlink, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def superlink(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The summaries of all cases, which go on at once on one fleet: Flower's nodes mostly sleep between messages."""
    spec = importlib.util.spec_from_file_location("flower_superlink_run", SCRIPT)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    with script.fleet(tmp_path_factory.mktemp("superlink")) as run, ThreadPoolExecutor() as at_once:
        told = at_once.map(lambda settings: run(*SETTINGS, *settings), CASES.values())
        return dict(zip(CASES, told, strict=True))


@pytest.mark.parametrize("case", CASES)
def test_superlink_learns_the_model_of_the_simulation(
    superlink: dict[str, dict[str, Any]], tmp_path: Path, case: str
) -> None:
    with prepare(*compose([*SETTINGS, *CASES[case], f"run_dir={tmp_path / 'run'}"])) as runner:
        runner.carry_out()
    there, here = superlink[case], runner.summary
    assert there["stopped"] == here["stopped"] == "finished"
    assert there["failures"] == here["failures"] == 0
    assert there["model_sha256"] == here["model_sha256"]
    assert there["bytes_up"] == here["bytes_up"]
