"""``hansa simulate``: a federation of virtual clients on this machine."""

from __future__ import annotations

import functools
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from hansa.conf.carry import new_run_id, runner
from hansa.conf.compose import explain, own_code
from hansa.conf.errors import WrongValue
from hansa.conf.flags import demand_settings, flags_first, overrides
from hansa.conf.run import assemble
from hansa.conf.sweep import Sweep, carry_out
from hansa.fedclient.state import MemoryStates
from hansa.fedserver.runner import Runner, View
from hansa.fedserver.watch import Lines, Screen
from hansa.simulations.inline import Inline
from hansa.strategies.keys import from_seed


def main(words: Sequence[str]) -> None:
    """Compose a configuration from overrides and carry it out; with ``-m`` one run for each combination."""
    torch.set_num_threads(1)
    os.environ["HYDRA_FULL_ERROR"] = "1"
    words = flags_first(own_code(words))
    with tempfile.TemporaryDirectory() as sweeps:
        sys.argv = ["hansa simulate", *words, f"hydra.sweep.dir={sweeps}"]
        demand_settings(words)
        sweep = Sweep(words=overrides(words), prepare=prepare)
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
            carry_out(prepare(config, choices))
    except Exception as error:
        raise _Carried(error) from error


def prepare(config: DictConfig, choices: Mapping[str, str]) -> Runner:
    """Build everything of a simulated run, and its directory."""
    if config.federation != "inline":
        raise WrongValue(f"federation={config.federation}: it is inline.")
    run = assemble(config, choices)
    names = run.work.task.clients()
    site = run.site(MemoryStates(), from_seed(run.job.seed, "client"))
    view: View = Screen(run.job.rounds) if sys.stderr.isatty() else Lines(run.job.rounds)
    federation = Inline(site, tuple(sorted(names)))
    made = runner(run, config, federation, run_id=new_run_id(), key="seed", view=view, clock=time.perf_counter)
    print(f"results go to {made.directory.path}", file=sys.stderr)
    return made
