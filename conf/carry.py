"""What carries a run out, wherever its clients are: the coordinator, the run directory and the view."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from hansa.conf.errors import WrongValue
from hansa.conf.run import Run
from hansa.fedserver.coordinator import Coordinator
from hansa.fedserver.federation import Federation
from hansa.fedserver.run_directory import RunDirectory
from hansa.fedserver.runner import Hold, Runner, View
from hansa.strategies.keys import from_seed


def new_run_id() -> str:
    """Name a run that begins now."""
    return f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def runner(
    run: Run,
    config: DictConfig,
    federation: Federation,
    *,
    run_id: str,
    own: bytes,
    view: View,
    clock: Callable[[], float],
    gather: Callable[[], None] = lambda: None,
    paced: Callable[[float], None] = lambda seconds: None,
    absent: Callable[[], Mapping[str, str]] = dict,
    rest: Callable[[float], None] = lambda seconds: None,
    told: Mapping[str, Any] | None = None,
    names: Sequence[str] | None = None,
    patience: float = 0.0,
    hold: Hold = nullcontext,
) -> Runner:
    """Make the run's directory and all that carries it out; ``own`` is the coordinator's key.

    ``names`` and ``rest`` are the ``Coordinator``'s, ``patience`` the ``RunDirectory``'s, the others the ``Runner``'s.
    """
    coordinator = Coordinator(
        job=run.job,
        federation=federation,
        run=run_id,
        own=own,
        clock=clock,
        watch=view,
        server_sums=run.server_sums(),
        names=names,
        rest=rest,
    )
    directory = RunDirectory(Path(config.run_dir or f"runs/{run_id}-{run.job.task}-{run.job.strategy_name}"), patience)
    directory.config(OmegaConf.to_yaml(config, resolve=True))
    return Runner(
        coordinator=coordinator,
        directory=directory,
        view=view,
        clock=clock,
        gather=gather,
        paced=paced,
        absent=absent,
        told=told or {},
        hold=hold,
    )


def carry_out(runner: Runner) -> None:
    """Carry out one run; its summary is the last line on standard output, however it ends."""
    try:
        runner.carry_out()
    finally:
        print(json.dumps(runner.summary), flush=True)


def coordinator_key(config: DictConfig, default: str) -> bytes:
    """Return the coordinator's secret key: from the seed where runs must repeat, else from the operating system.

    ``default`` is what ``coordinator_key`` is where it is empty.
    """
    kind = config.coordinator_key or default
    if kind not in ("seed", "entropy"):
        raise WrongValue(f"coordinator_key={kind}: it is seed or entropy.")
    return from_seed(config.seed, "coordinator") if kind == "seed" else secrets.token_bytes(32)
