"""Torch on one thread: results repeat to the bit, and tests beside each other do not slow each other down."""

from __future__ import annotations

import pytest
import torch

torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest first, so that no process is left with it alone at the end."""
    items.sort(key=lambda item: "superlink" not in item.keywords)
