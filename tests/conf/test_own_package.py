"""A package from outside the tree brings a strategy; once it is installed, it is chosen by name like Hansa's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "own_package"
PIP = [
    "-m",
    "pip",
    "install",
    "--quiet",
    "--no-deps",
    "--no-build-isolation",
    "--no-index",
    "--disable-pip-version-check",
]
CODE = "from hansa.conf.main import main; main()"

Python = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Python:
    """Python in an empty folder, where the package is installed."""
    folder = tmp_path_factory.mktemp("outside")
    shutil.copytree(PACKAGE, folder / "source", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, *PIP, "--target", str(folder / "site"), str(folder / "source")], check=True)
    shutil.rmtree(folder / "source")
    env = {**os.environ, "PYTHONPATH": str(folder / "site")}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *words]
        return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)

    return run


def test_its_strategy_is_run_by_name_with_settings_of_its_own(python):
    words = ["rounds=2", "strategy=tethered", "strategy.rope=0.01,100.0"]
    done = python("-c", CODE, "simulate", "-m", *words)
    assert done.returncode == 0, done.stderr
    short, long = (json.loads(line) for line in done.stdout.splitlines())
    assert short["strategy"] == long["strategy"] == "tethered"
    assert short["model_sha256"] != long["model_sha256"]


def test_its_settings_are_checked_and_its_errors_told(python):
    cases = {
        "strategy=tethered strategy.rop=1": "setting 'strategy.rop' does not exist: nearest are strategy.rope",
        "strategy=tetherd": "strategy=tetherd does not exist: nearest are strategy=tethered",
        "strategy=half": "strategy harbour_strategies:Half lacks endpoints(), round(): see docs/own_strategies.md",
        "strategy=gone": "strategy 'gone' (harbour_strategies:NotThere) cannot be loaded: AttributeError",
    }
    each = "import sys; from hansa.conf.main import run; print([run(['simulate', *w.split()]) for w in sys.argv[1:]])"
    done = python("-c", each, *cases)
    assert done.stdout == "[1, 1, 1, 1]\n"
    for line, told in zip(done.stderr.splitlines(), cases.values(), strict=True):
        assert told in line


def test_it_is_listed(python):
    done = python("-c", CODE, "strategies")
    assert "tethered" in done.stdout and "fedavg" in done.stdout


def test_it_keeps_the_laws(python):
    done = python("-m", "harbour_laws")
    assert done.stdout == "kept\n", done.stderr
