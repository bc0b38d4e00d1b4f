"""The types of a run's own settings; components bring theirs along."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


@dataclass
class EvaluationSettings:
    """When and where the model is evaluated."""

    every: int = MISSING
    to: str = MISSING
    by_client: bool = MISSING


@dataclass
class RunSettings:
    """A run. The groups are components: a ``_target_`` and its fields."""

    task: dict[str, Any] = field(default_factory=dict)
    partition: dict[str, Any] = field(default_factory=dict)
    strategy: dict[str, Any] = field(default_factory=dict)
    pipeline: dict[str, Any] = field(default_factory=dict)
    client: dict[str, Any] = field(default_factory=dict)
    cohort: dict[str, Any] = field(default_factory=dict)
    selection: dict[str, Any] = field(default_factory=dict)
    devices: dict[str, Any] = field(default_factory=dict)
    attack: dict[str, Any] = field(default_factory=dict)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    private: list[str] | None = None
    seed: int = MISSING
    rounds: int = MISSING
    clients: int | None = MISSING
    federation: str = MISSING
    workers: int | None = MISSING
    ray_address: str | None = MISSING
    debug: bool = MISSING
    state_memory: float = MISSING
    coordinator_key: str | None = MISSING
    lost_rounds: int = MISSING
    start_with: int | None = MISSING
    start_within: float = MISSING
    target: str | None = MISSING
    run_dir: str | None = MISSING
