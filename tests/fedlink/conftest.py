"""A server on loopback, and the keys of those who connect to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.devices import Plant
from tests.fedlink.line import serving


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return Plant.make(tmp_path / "server")


@pytest.fixture
def server(plant, tmp_path):
    with serving(plant, tmp_path) as one:
        yield one
