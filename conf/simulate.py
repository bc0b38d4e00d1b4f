"""``hansa simulate``: a federation of virtual clients on this machine."""

from __future__ import annotations

import functools
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from hansa.conf import place
from hansa.conf.attacks import plotted
from hansa.conf.carry import carry_out, coordinator_key, new_run_id, runner
from hansa.conf.compose import explain, own_code
from hansa.conf.ending import Ending
from hansa.conf.flags import demand_settings, flags_first, overrides
from hansa.conf.run import Run, assemble
from hansa.conf.sweep import Sweep
from hansa.conf.virtual import virtual
from hansa.fedserver.runner import Hold, Runner, View
from hansa.fedserver.watch import Lines, Screen
from hansa.fedtasks.errors import listed
from hansa.simulations.engines import Engines
from hansa.simulations.scratch import memory, scratch
from hansa.simulations.states import SharedStates
from hansa.strategies.keys import from_seed
from hansa.strategies.pipeline import Names

PATIENCE = 1.0
"""Seconds until results are on the disk for certain; what a simulation lost by a power cut can be had again."""


def main(words: Sequence[str]) -> None:
    """Compose a configuration from overrides and carry it out; with ``-m`` one run for each combination."""
    torch.set_num_threads(1)
    if any(word.startswith("app=") for word in words):
        from hansa.conf.simulate_app import main as simulate_app  # Flower is imported for its apps only

        simulate_app(words)
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"
    words = flags_first(own_code(words))
    with Ending() as ending, scratch(Path(tempfile.gettempdir())) as sweeps:
        sys.argv = ["hansa simulate", *words, f"hydra.sweep.dir={sweeps}"]
        demand_settings(words)
        sweep = Sweep(words=overrides(words), prepare=functools.partial(prepare, hold=ending.hold))
        task = functools.partial(_simulate, sweep)
        functools.update_wrapper(task, _simulate)
        try:
            hydra.main(version_base="1.3", config_path="pkg://hansa.conf", config_name="config")(task)()
        except (HydraException, OmegaConfBaseException) as error:
            raise explain(error, words) from error
        except _Carried as carried:
            raise carried.error from carried.error.__cause__
        finally:
            sweep.end()
        sweep.demand_all()


class _Carried(BaseException):
    """Takes an error past Hydra, which would print lines of its own."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def _simulate(sweep: Sweep, config: DictConfig) -> None:
    hydra_config = HydraConfig.get()
    choices = {str(group): str(choice) for group, choice in hydra_config.runtime.choices.items()}
    try:
        if hydra_config.mode is RunMode.MULTIRUN:
            sweep.carry_out(config, choices, hydra_config.overrides.task)
        else:
            with sweep.prepare(config, choices) as runner:
                carry_out(runner)
    except Exception as error:
        raise _Carried(error) from error


@contextmanager
def prepare(config: DictConfig, choices: Mapping[str, str], hold: Hold = nullcontext) -> Iterator[Runner]:
    """Build everything of a simulated run, its engine and its directory; the engine ends with the context.

    ``hold`` is that of ``Runner``.
    """
    run, run_id = assemble(config, choices), new_run_id()
    names, own = _sorted(run.work.task.clients()), coordinator_key(config, "seed")
    with _states(config, run_id) as states:
        site = run.site(states, from_seed(run.job.seed, "client"))
        engines = Engines(
            job=run.job,
            site=site,
            names=names,
            own=own,
            build=place.builder(config, choices),
            workers=config.workers,
            debug=config.debug,
            ray_address=config.ray_address,
        )
        choice = engines.choose(config.federation)
        view: View = Screen(run.job.rounds) if sys.stderr.isatty() else Lines(run.job.rounds)
        plot = plotted(config, choices, site, _suspects(names, run), own)
        with closing(engines.start(choice)) as engine:
            made = runner(
                plot.watched(run),
                config,
                virtual(config, site, plot.among(engine), names, run.job.least()),
                run_id=run_id,
                own=own,
                view=view,
                clock=time.perf_counter,
                told=choice.told(engine) | plot.told(),
                names=names,
                patience=PATIENCE,
                hold=hold,
            )
            print(f"results go to {made.directory.path}", file=sys.stderr)
            print(f"federation={choice.engine}: {choice.why}", file=sys.stderr)
            if plot.attack is not None:
                who = listed(sorted(plot.attackers))
                print(f"attack={plot.name}: {len(plot.attackers)} of {len(names)} clients: {who}", file=sys.stderr)
            yield made


def _sorted(names: Names) -> Names:
    """Return names in order; those that are no tuple are made up, in order, and may be a million."""
    return tuple(sorted(names)) if isinstance(names, (tuple, list)) else names


def _suspects(names: Names, run: Run) -> Names:
    """Return who may attack: whom a strategy trusts is the coordinator's own."""
    trusted = getattr(run.job.strategy, "trusted", ())
    return tuple(name for name in names if name not in trusted) if trusted else names


@contextmanager
def _states(config: DictConfig, run_id: str) -> Iterator[SharedStates]:
    """Keep clients' states for a run: in memory, and where they are large on the disk that results go to."""
    results = Path(config.run_dir).parent if config.run_dir else Path("runs")
    size = int(config.state_memory * 2**30)
    with (
        scratch(memory(), run_id) as near,
        scratch(results, run_id, ".states") as far,
        closing(SharedStates(near, far, size)) as states,
    ):
        yield states
