"""The group ``attack``: which of a simulation's clients attack, and how."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from hansa.conf.components import build
from hansa.conf.run import Run
from hansa.fedclient.site import Site
from hansa.fedserver.federation import Federation
from hansa.simulations.attacked import Attacked, attackers
from hansa.simulations.attacks import Attack, Triggered
from hansa.simulations.poison import Success, poisoned
from hansa.strategies.pipeline import Names

TRIGGER = "trigger"


@dataclass(frozen=True, kw_only=True)
class Plot:
    """An attack and who takes part in it; ``attack`` is None where nobody attacks.

    ``site`` is where attackers train, and ``own`` the coordinator's key.
    """

    name: str
    attack: Attack | None = None
    attackers: frozenset[str] = frozenset()
    site: Site
    own: bytes
    debug: bool = False

    def among(self, inner: Federation) -> Federation:
        """Let the attackers loose; raises AttackError for endpoints that the attack cannot do."""
        if self.attack is None:
            return inner
        return Attacked(
            inner=inner,
            site=self.site,
            attack=self.attack,
            attackers=self.attackers,
            own=self.own,
            debug=self.debug,
        )

    def watched(self, run: Run) -> Run:
        """Return the run, with the attack's own success measured on the coordinator's data."""
        if not isinstance(self.attack, Triggered):
            return run
        success = Success(attack=self.attack)
        job = dataclasses.replace(run.job, metrics=(*run.job.metrics, success))
        return dataclasses.replace(run, job=job, more=(success.measure,))

    def told(self) -> dict[str, object]:
        """Return what a run's summary says of it."""
        return {} if self.attack is None else {"attack": self.name, "attackers": len(self.attackers)}


def plotted(config: DictConfig, choices: Mapping[str, str], site: Site, names: Names, own: bytes) -> Plot:
    """Build the attack that was chosen; raises the errors of components, and AttackError for what makes no sense."""
    attack, who = _attack(config), frozenset[str]()
    if attack is not None:
        who = attackers(attack.share, names, site.public)
        site = poisoned(site, attack, sorted(who))
    return Plot(name=choices["attack"], attack=attack, attackers=who, site=site, own=own, debug=config.debug)


def _attack(config: DictConfig) -> Attack | None:
    values: dict[str, Any] = OmegaConf.to_container(config.attack, resolve=True)  # type: ignore[assignment]
    if not values:
        return None
    given = {TRIGGER: build(f"attack.{TRIGGER}", values.pop(TRIGGER))} if TRIGGER in values else {}
    attack: Attack = build("attack", values, **given)
    return attack
