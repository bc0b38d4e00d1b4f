"""The examples in the docstrings hold."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("strategies", "fedprivacy", "fedtasks", "fedlink", "fedclient", "fedserver", "simulations", "conf")
FILES = sorted(p for s in SOURCES for p in (ROOT / s).rglob("*.py") if ">>> " in p.read_text())


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_doctests(path: Path) -> None:
    name = ".".join(["hansa", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__")
    failed, run = doctest.testmod(importlib.import_module(name))
    assert run
    assert not failed
