"""Where a task's own files are."""

from __future__ import annotations

import os
from pathlib import Path

from hansa.fedtasks.errors import DataError


def data_folder(data_dir: str | None, name: str, remedy: str) -> Path:
    """Return ``data_dir``, or the folder ``name`` of that which HANSA_DATA names; raises DataError with the remedy."""
    above = os.environ.get("HANSA_DATA")
    if data_dir is None and not above:
        raise DataError(name, f"no folder is named: {remedy}")
    folder = Path(data_dir) if data_dir is not None else Path(above or "") / name
    if not folder.is_dir():
        raise DataError(folder, f"there is no such folder: {remedy}")
    return folder
