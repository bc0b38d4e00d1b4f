"""Any Flower ServerApp, with Hansa's devices (``hansa serve FOLDER app=server.py:app``) or others as its nodes."""

from __future__ import annotations

import importlib.metadata
import json
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from flwr.app import Context, RecordDict
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.serverapp import Grid, ServerApp

from hansa.conf.components import load
from hansa.conf.errors import CannotLoad
from hansa.fedclient.flower_node import values
from hansa.fedlink.protocol import Desk
from hansa.fedlink.server import Server
from hansa.fedserver.link_grid import LinkGrid
from hansa.fedserver.presence import Presence
from hansa.fedserver.waiting import Tempo


def desk(run_id: int, words: Sequence[str]) -> Desk:
    """Return a desk that tells devices the run's configuration, which a ClientApp reads as ``run_config``."""
    return Desk(software=f"hansa {importlib.metadata.version('hansa')}", run=str(run_id), settings=tuple(words))


def new_run_id() -> int:
    """Name a run as Flower does, by a number."""
    return secrets.randbits(62)


def carry_out(
    target: str,
    server: Server,
    presence: Presence,
    tempo: Tempo,
    run_id: int,
    words: Sequence[str],
    largest: int | None,
) -> None:
    """Let a ServerApp of a file run to its end among devices, whose replies have ``largest`` bytes at most."""
    app = _app(target)
    grid = LinkGrid(server=server, presence=presence, clock=time.monotonic, run_id=run_id, tempo=tempo, largest=largest)
    play(app, grid, run_id, values(list(words)), lambda: {"clients": len(presence.here())})


def play(
    app: ServerApp,
    grid: Grid,
    run_id: int,
    config: dict[str, bool | float | int | str],
    told: Callable[[], dict[str, object]],
) -> None:
    """Let a ServerApp run to its end; the last line on standard output is a summary, with what is ``told`` then."""
    start, stopped = time.monotonic(), "interrupted"
    context = Context(run_id=run_id, node_id=SUPERLINK_NODE_ID, node_config={}, state=RecordDict(), run_config=config)
    try:
        app(grid, context)
        stopped = "finished"
    except Exception as error:
        stopped = type(error).__name__
        raise
    finally:
        seconds = round(time.monotonic() - start, 3)
        print(json.dumps({"run_id": str(run_id), "seconds": seconds, **told(), "stopped": stopped}), flush=True)


def _app(target: str) -> ServerApp:
    path, _, name = target.rpartition(":")
    found = getattr(load(Path(path)), name, None)
    if not isinstance(found, ServerApp):
        raise CannotLoad(f"app={target}: it names no ServerApp of that file, as in app=./server_app.py:app.")
    return found
