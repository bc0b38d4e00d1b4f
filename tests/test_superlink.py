"""The same bits in both places: the inline simulation, and Flower's SuperLink with a SuperNode for each hospital."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hansa.conf.compose import compose
from hansa.conf.simulate import prepare

SCRIPT = Path(__file__).parents[1] / "examples" / "flower_superlink" / "run.py"
SETTINGS = ("task=heart_disease", "seed=1", "rounds=3", "evaluation.every=0")

pytestmark = [pytest.mark.superlink, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def superlink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., dict[str, Any]]]:
    spec = importlib.util.spec_from_file_location("flower_superlink_run", SCRIPT)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    with script.fleet(tmp_path_factory.mktemp("superlink")) as run:
        yield run


def simulated(folder: Path, *settings: str) -> dict[str, Any]:
    runner = prepare(*compose([*SETTINGS, *settings, f"run_dir={folder / 'run'}"]))
    runner.carry_out()
    return runner.summary


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(("strategy=fedavg",), id="fedavg"),
        pytest.param(("strategy=fedavg", "cohort.size=2"), id="sampled-cohort"),
        pytest.param(("strategy=scaffold",), id="scaffold"),
    ],
)
def test_superlink_learns_the_model_of_the_simulation(
    superlink: Callable[..., dict[str, Any]], tmp_path: Path, settings: tuple[str, ...]
) -> None:
    there, here = superlink(*SETTINGS, *settings), simulated(tmp_path, *settings)
    assert there["stopped"] == here["stopped"] == "finished"
    assert there["failures"] == here["failures"] == 0
    assert there["model_sha256"] == here["model_sha256"]
    assert there["bytes_up"] == here["bytes_up"]
