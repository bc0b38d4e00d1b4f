"""The demo's table says what the product says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / "examples" / "demo.py"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, str(DEMO), "--splits", "2", "rounds=3", "evaluation.every=3"]
    environment = {"COLUMNS": "140", "PATH": "/usr/bin:/bin", "HOME": str(folder)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, folder


def row(text: str, place: str) -> list[str]:
    line = next(line for line in text.splitlines() if re.match(rf"\W+{place}\b", line))
    return [cell.strip() for cell in line.split("│")[2:-1]]


def test_the_table_compares_three_ways_at_each_hospital_and_pooled(told: tuple[str, Path]) -> None:
    for place in ("cleveland", "hungary", "switzerland", "va_long_beach"):
        assert len(row(told[0], place)) == 6
    assert all(re.fullmatch(r"\.\d{3}", cell) for cell in row(told[0], "all four"))
    assert row(told[0], "switzerland")[::2] == ["n/a"] * 3, "too few Swiss patients are healthy for an AUC"


def test_the_federated_column_is_what_simulate_prints(told: tuple[str, Path]) -> None:
    accuracies = []
    for split in (0, 1):
        code = "from hansa.conf.main import main; main()"
        command = [sys.executable, "-c", code, "simulate", "rounds=3", f"task.split={split}", f"run_dir={split}"]
        subprocess.run(command, cwd=told[1], capture_output=True, check=True)
        accuracies.append(json.loads((told[1] / str(split) / "summary.json").read_text())["metrics"]["accuracy"])
    assert row(told[0], "all four")[1] == f"{sum(accuracies) / 2:.3f}".lstrip("0")
