"""What was approved at a device, and nothing else, runs there."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from hansa.fedclient.errors import NotApproved
from hansa.fedlink.invitation import demand_plain


def check(task: Mapping[str, str]) -> None:
    """Raise NotApproved where the task's file is not, to the byte, what was approved."""
    if "file" not in task:
        return
    path = Path(task["file"])
    content = path.read_bytes() if path.exists() else b""
    found = hashlib.sha256(content).hexdigest() if path.exists() else "absent"
    if found != task["sha256"]:
        raise NotApproved(
            f"{path.name} was changed after it was approved (SHA-256 {found[:12]}, not {task['sha256'][:12]}): "
            "restore it, or join with a new invitation"
        )
    demand_plain(content.decode(), path.name, NotApproved)
