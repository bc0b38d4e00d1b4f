"""The Flower ``ClientApp``: ``clientapp = "hansa.fedclient.app:app"``.

The run's settings come as the run config ``hansa``. A node's own settings stand in its node config: ``hansa-client``
(the client's name; or Flower's ``partition-id``, the place of a name among the task's clients), ``state-dir`` (where
the client's state survives a restart), ``hansa-site`` (settings such as ``task.data_dir=/data``) and
``hansa-share-errors=true`` (errors' texts go to the coordinator, and not only into the node's log).
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from hansa.conf import place
from hansa.conf.digest import digest, learning_settings
from hansa.fedclient.errors import SettingsError, StageFailed, stage
from hansa.fedclient.greeting import failure_of, greeting
from hansa.fedclient.state import DiskStates, States, Version
from hansa.fedlink.flower import error_reply, read_call, read_tree, reply_message, write_tree
from hansa.fedlink.messages import Call, Failure, Reply


class HansaApp(ClientApp):
    """Answers every message of a Hansa run, whatever endpoints its strategy has.

    Flower starts a process for each message, so torch, two seconds of it, is imported only where there is work.
    """

    def __call__(self, message: Message, context: Context) -> Message:
        try:
            with stage("configuration"):
                call, words = read_call(message), (_wire(context), str(context.node_config.get("hansa-site", "")))
                if (greeted := _greeting(call, words, context)) is not None:
                    return reply_message(greeted, message)
                run = place.run(*words)
                site = run.site(_states(context), secrets.token_bytes(32))
                client = _name(context, run.work.task.clients)
        except StageFailed as error:  # Flower would send all of its text
            return error_reply(message, str(_told(error, context)))
        try:
            with stage("answering"):
                return reply_message(site.work_on(call, client), message)
        except StageFailed as error:
            return reply_message(Reply.to(call, client, call.digest, failure=_told(error, context)), message)


app = HansaApp()


def _greeting(call: Call, words: tuple[str, str], context: Context) -> Reply | None:
    if "hansa-client" not in context.node_config:
        return None
    settings = learning_settings(place.settings(*words)[0])
    return greeting(call, str(context.node_config["hansa-client"]), settings, digest(settings))


def _told(error: StageFailed, context: Context) -> Failure:
    """Write an error into the node's log, and return what of it the coordinator gets."""
    print(f"hansa: {failure_of(error, share=True)}", file=sys.stderr, flush=True)
    return failure_of(error, context.node_config.get("hansa-share-errors") is True)


def _wire(context: Context) -> str:
    if "hansa" not in context.run_config:
        raise SettingsError("this run brought no settings: start it with --run-config 'hansa=\"task=NAME ...\"'.")
    return str(context.run_config["hansa"])


def _name(context: Context, clients: Callable[[], Sequence[str]]) -> str:
    """Return the name of the client that this node is, one of the task's clients."""
    if "hansa-client" in context.node_config:
        return str(context.node_config["hansa-client"])
    names = sorted(clients())
    partition = int(context.node_config.get("partition-id", -1))
    if not 0 <= partition < len(names):
        raise SettingsError(
            f"this node has no client name: start it with --node-config 'hansa-client=\"NAME\"', NAME one of "
            f"{', '.join(names[:5])}."
        )
    return names[partition]


def _states(context: Context) -> States:
    if "state-dir" in context.node_config:
        return DiskStates(Path(str(context.node_config["state-dir"])))
    return ContextStates(context.state)


@dataclass(frozen=True)
class ContextStates:
    """States in Flower's ``Context.state``: in the node's memory, gone when it restarts."""

    state: RecordDict

    def read(self, run: str, client: str, slot: str) -> Version | None:
        tree = read_tree(self.state, f"{run}/{client}/{slot}")
        if tree is None:
            return None
        tag = tree.pop("hansa.tag")
        return Version((int(tag[0]), int(tag[1])), tree)

    def write(self, run: str, client: str, slot: str, version: Version | None) -> None:
        tree = None if version is None else {**version.states, "hansa.tag": np.array(version.tag, np.int64)}
        write_tree(self.state, f"{run}/{client}/{slot}", tree)
