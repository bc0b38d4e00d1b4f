"""What was approved at a device, and nothing else, runs there: to the byte, and nothing that nobody could see."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from hansa.fedclient.errors import NotApproved
from hansa.fedlink.plain import demand_plain

_approved: dict[Path, str] = {}
"""The files that may run in this process only as they were approved, each with its SHA-256."""


def check(task: Mapping[str, str]) -> None:
    """Raise NotApproved where the task's file is not what was approved; from now on only that runs in this process."""
    if "file" not in task:
        return
    path = Path(task["file"])
    _approved[path.resolve()] = task["sha256"]
    vouch(path, path.read_bytes() if path.exists() else None)


def vouch(path: Path, content: bytes | None) -> None:
    """Raise NotApproved where a file is about to run that was approved, and with another content than this."""
    if (wanted := _approved.get(path.resolve())) is None:
        return
    found = "absent" if content is None else hashlib.sha256(content).hexdigest()
    if content is None or found != wanted:
        raise NotApproved(
            f"{path.name} was changed after it was approved (SHA-256 {found[:12]}, not {wanted[:12]}): "
            "restore it, or join with a new invitation"
        )
    demand_plain(content, path.name, NotApproved)
