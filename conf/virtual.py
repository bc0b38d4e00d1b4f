"""The group ``devices``: what simulated clients run on, which only a simulation can have."""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any

from omegaconf import DictConfig, OmegaConf

from hansa.conf.components import build
from hansa.conf.errors import UnknownSetting, WrongValue
from hansa.fedclient.site import Site
from hansa.fedserver.federation import Federation
from hansa.simulations.crowd import Crowd
from hansa.simulations.devices import Devices, Luck
from hansa.simulations.effort import Effort
from hansa.simulations.virtual import Virtual
from hansa.strategies.keys import from_seed
from hansa.strategies.pipeline import Names


def devices(config: DictConfig) -> Devices | None:
    """Build the model of devices, part by part; None where there is none.

    Raises UnknownSetting, WrongValue, and DeviceError for figures that make no sense.
    """
    values: dict[str, Any] = OmegaConf.to_container(config.devices, resolve=True)  # type: ignore[assignment]
    known = [field.name for field in dataclasses.fields(Devices)]
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, 3, 0.0)
            raise UnknownSetting(f"devices.{name} does not exist: nearest are {', '.join(near)}.")
    if not values:
        return None
    return Devices(**{name: build(f"devices.{name}", part) for name, part in values.items()})


def demand_none(config: DictConfig) -> None:
    """Raise WrongValue where clients that are real would run on made-up devices, or attack."""
    if config.devices:
        raise WrongValue("devices: these clients are real, and so are their devices: leave devices=none.")
    if config.attack:
        raise WrongValue("attack: these clients are real, and none of them shall attack: leave attack=none.")


def virtual(config: DictConfig, site: Site, inner: Federation, names: Names, least: int) -> Federation:
    """Give the clients of a federation the devices that were chosen, if any; raises the errors of ``devices``.

    A round begins when ``least`` of them are there.
    """
    model = devices(config)
    if model is None:
        return inner
    luck = Luck(from_seed(config.seed, "devices"))
    return Virtual(
        inner=inner,
        devices=model,
        effort=Effort(site.work, site.endpoints),
        crowd=Crowd(names, model.availability.windows(luck, names)),
        luck=luck,
        least=least,
    )
