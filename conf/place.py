"""A run at a place that has clients: the settings that it brought with the place's own, composed and built once."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from hansa.conf.compose import compose
from hansa.conf.wire import words

if TYPE_CHECKING:
    from hansa.conf.run import Run


@functools.lru_cache(1)
def settings(wire: str, site: str) -> tuple[DictConfig, dict[str, str]]:
    """Return the configuration of a run, and which component was chosen of each group; raises ConfigError."""
    return compose(words(wire, site))


@functools.lru_cache(1)
def run(wire: str, site: str) -> Run:
    """Build a run; raises the errors of all packages."""
    import torch  # two seconds, which a place that is configured differently need not spend

    from hansa.conf.run import assemble

    torch.set_num_threads(1)
    return assemble(*settings(wire, site))
