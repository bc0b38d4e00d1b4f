"""A run at a place that has clients: the settings that it brought with the place's own, composed and built once."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from hansa.conf.components import PARTS, allow, is_file
from hansa.conf.compose import compose
from hansa.conf.digest import places
from hansa.conf.wire import check_places, words

if TYPE_CHECKING:
    from hansa.conf.run import Run
    from hansa.fedclient.site import Site
    from hansa.fedclient.state import States


@functools.lru_cache(1)
def settings(wire: str, site: str) -> tuple[DictConfig, dict[str, str]]:
    """Return the configuration of a run, and which component was chosen of each group; raises ConfigError."""
    config, choices = compose(words(wire, site))
    check_places(wire, site, places(config))
    return config, choices


@functools.lru_cache(1)
def run(wire: str, site: str) -> Run:
    """Build a run; raises the errors of all packages."""
    import torch  # two seconds, which a place that is configured differently need not spend

    from hansa.conf.run import assemble

    torch.set_num_threads(1)
    return assemble(*settings(wire, site))


def builder(config: DictConfig, choices: Mapping[str, str]) -> Callable[[States], Site]:
    """Return what builds the site of this simulated run on any node of a cluster; it is pickled by its name."""
    values: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    return functools.partial(_simulated, values, dict(choices), os.getcwd())


def _simulated(values: Mapping[str, Any], choices: Mapping[str, str], folder: str, states: States) -> Site:
    """Build the site of a simulated run on a node of a cluster, from its whole configuration.

    Code is the node's own: a file that is named must lie there, as seen from ``folder``, where the command was given.
    Raises the errors of all packages.
    """
    import torch

    from hansa.conf.run import assemble
    from hansa.strategies.keys import from_seed

    with contextlib.suppress(OSError):  # only what is named by a relative path needs it, and says so
        os.chdir(folder)
    torch.set_num_threads(1)
    for group in PARTS:
        if is_file(target := str(values[group]["_target_"])):
            allow(group, target)
    run = assemble(OmegaConf.create(dict(values)), choices)
    return run.site(states, from_seed(run.job.seed, "client"))
