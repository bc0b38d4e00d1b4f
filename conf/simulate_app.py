"""``hansa simulate app=FOLDER``: any Flower app, unchanged, on this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from hansa.conf.ending import Ending
from hansa.conf.errors import WrongValue
from hansa.conf.flower import play
from hansa.fedclient.flower_node import values
from hansa.simulations.flower_app import FlowerApp
from hansa.simulations.flower_crew import FlowerCrew, seed_all
from hansa.simulations.flower_grid import PoolGrid
from hansa.simulations.pool import Pool
from hansa.simulations.scratch import memory, scratch
from hansa.strategies.keys import derive

OWN = ("app", "clients", "workers", "seed")
NODES = 10
"""Nodes where neither ``clients`` nor the app says how many."""


def main(words: Sequence[str]) -> None:
    """Load an app and let its ServerApp run to its end; all words but our own are the run's settings."""
    given = dict(word.partition("=")[::2] for word in words)
    own = {name: given.pop(name) for name in OWN if name in given}
    seed = _number(own, "seed", 1, least=0)
    seed_all(derive(b"hansa flower app", seed, "import"))
    app = FlowerApp.load(Path(own["app"]))
    nodes = _number(own, "clients", app.nodes or NODES)
    workers = _number(own, "workers", min(len(os.sched_getaffinity(0)), nodes))
    config = app.settings(values([f"{name}={value}" for name, value in given.items()]))
    run_id = int.from_bytes(derive(b"hansa flower app", seed, "run")[:8], "little") >> 2
    print(f"{own['app']}: {nodes} nodes in {workers} processes, seed {seed}", file=sys.stderr, flush=True)
    with Ending(), scratch(memory()) as folder:
        crew = FlowerCrew(app=app.client, config=config, nodes=nodes, folder=folder, seed=seed)
        with closing(Pool(crew, workers)) as pool:
            grid = PoolGrid(pool=pool, nodes=nodes, run_id=run_id, folder=folder)
            seed_all(derive(b"hansa flower app", seed, "server"))
            play(
                app.server,
                grid,
                run_id,
                config,
                lambda: {"clients": nodes, "messages": grid.done, "failures": grid.failed},
            )


def _number(own: dict[str, str], name: str, default: int, least: int = 1) -> int:
    try:
        value = int(own.get(name, default))
    except ValueError:
        value = least - 1
    if value < least:
        raise WrongValue(f"{name}={own[name]}: it must be a whole number of at least {least}.")
    return value
