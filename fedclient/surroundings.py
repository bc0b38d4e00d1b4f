"""What the worker process is given of the agent's surroundings: no code of the folder where the agent was started."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

QUIET = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
SAFE = {"PYTHONSAFEPATH": "1"}
"""What the task starts looks for code as the worker itself does."""


def environment(ours: Mapping[str, str], here: Path) -> dict[str, str]:
    """Return a worker's environment: the owner's, in which PYTHONPATH has whole paths and not, by an empty part, here.

    >>> environment({"PYTHONPATH": "lib::/opt/lib"}, Path("/home/riga"))["PYTHONPATH"]
    '/home/riga/lib:/opt/lib'
    """
    found = {**ours, **QUIET, **SAFE}
    if folders := [str(here / folder) for folder in found.pop("PYTHONPATH", "").split(os.pathsep) if folder]:
        found["PYTHONPATH"] = os.pathsep.join(folders)
    return found
