"""``hansa serve FOLDER app=server.py:app``: any Flower ServerApp, with Hansa's devices as its nodes."""

from __future__ import annotations

import importlib.metadata
import json
import secrets
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from flwr.app import Context, RecordDict
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.serverapp import ServerApp

from hansa.conf.components import load
from hansa.conf.errors import CannotLoad
from hansa.fedclient.flower_node import values
from hansa.fedlink.protocol import Desk
from hansa.fedlink.server import Server
from hansa.fedserver.link_grid import LinkGrid
from hansa.fedserver.presence import Presence


def desk(run_id: int, words: Sequence[str]) -> Desk:
    """Return a desk that tells devices the run's configuration, which a ClientApp reads as ``run_config``."""
    return Desk(software=f"hansa {importlib.metadata.version('hansa')}", run=str(run_id), settings=tuple(words))


def new_run_id() -> int:
    """Name a run as Flower does, by a number."""
    return secrets.randbits(62)


def carry_out(target: str, server: Server, run_id: int, words: Sequence[str]) -> None:
    """Let a ServerApp run to its end; the last line on standard output is a summary."""
    say = lambda text: print(text, file=sys.stderr, flush=True)  # noqa: E731 - one way to say
    app, start = _app(target), time.monotonic()
    presence = Presence(clock=time.monotonic, say=say)
    grid = LinkGrid(server=server, presence=presence, clock=time.monotonic, run_id=run_id)
    context = Context(
        run_id=run_id,
        node_id=SUPERLINK_NODE_ID,
        node_config={},
        state=RecordDict(),
        run_config=values(list(words)),
    )
    stopped = "interrupted"
    try:
        app(grid, context)
        stopped = "finished"
    except Exception as error:
        stopped = type(error).__name__
        raise
    finally:
        seconds = round(time.monotonic() - start, 3)
        told = {"run_id": str(run_id), "seconds": seconds, "clients": len(presence.here()), "stopped": stopped}
        print(json.dumps(told), flush=True)


def _app(target: str) -> ServerApp:
    path, _, name = target.rpartition(":")
    found = getattr(load(Path(path)), name, None)
    if not isinstance(found, ServerApp):
        raise CannotLoad(f"app={target}: it names no ServerApp of that file, as in app=./server_app.py:app.")
    return found
