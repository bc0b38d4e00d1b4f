"""Which settings are whose: a place's own, or of the run's operation. All others are of the learning."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib.resources import files

GROUPS = ("strategy", "task", "partition", "pipeline", "client", "cohort", "selection", "devices", "attack")
"""Groups of the configuration, in the order in which they are listed."""

SITE = frozenset(
    {
        "client.device",
        "task.data_dir",
        "selection.table",
        "run_dir",
        "federation",
        "workers",
        "ray_address",
        "debug",
        "state_memory",
    }
)
"""Settings that are each place's own and never leave it."""

SITE_OPTIONS: Mapping[str, tuple[str, ...]] = {"hansa.fedtasks.huggingface.HuggingFace": ("dataset",)}
"""Options of built-in components that are each place's own too: their ``site``, known without an import."""

OPERATION = frozenset(
    {"rounds", "cohort.min", "cohort.deadline", "evaluation.every", "evaluation.to", "lost_rounds", "coordinator_key"}
    | {"cohort.quorum", "start_with", "start_within", "target"}
)
"""Settings that may change when a run goes on."""


@functools.cache
def shipped(group: str) -> list[str]:
    """Return the choices of a group that come with Hansa, sorted."""
    names = (file.name for file in files("hansa.conf").joinpath(group).iterdir())
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))
