"""Which settings are whose: a place's own, or of the run's operation. All others are of the learning."""

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

OPERATION = frozenset(
    {"rounds", "cohort.min", "cohort.deadline", "evaluation.every", "evaluation.to", "lost_rounds", "coordinator_key"}
    | {"cohort.quorum", "start_with", "start_within", "target"}
)
"""Settings that may change when a run goes on."""
