"""The command ``hansa``. Only what a verb needs is imported, so that help is there at once."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
import traceback
from typing import NamedTuple

from hansa.conf.errors import told
from hansa.fedlink.tls import only_tls_1_3


class Verb(NamedTuple):
    """A verb: the module whose ``main(words)`` carries it out, and what it is for."""

    module: str
    about: str
    kept: str = ""
    """What is kept when it is interrupted."""


LEARNT = "; what was learnt until then is in the run directory"
VERBS = {
    "simulate": Verb("hansa.conf.simulate", "train a federation of virtual clients on this machine", LEARNT),
    "partition": Verb(
        "hansa.conf.distribution", "draw who has which examples in a simulation, before anything is trained"
    ),
    "provision": Verb(
        "hansa.conf.provision", "make the certificates of a federation, and the invitations of its devices"
    ),
    "join": Verb("hansa.conf.join", "be a client: enrol this device by its invitation, and stay connected"),
    "serve": Verb("hansa.conf.serve", "coordinate a run among devices, over mutual TLS", LEARNT),
    "strategies": Verb("hansa.conf.catalogue", "list the strategies, tasks and other choices, with their settings"),
}

HELP = """Hansa: federated learning on Flower.

  hansa simulate task=heart_disease strategy=scaffold rounds=20 seed=1
  hansa simulate -m strategy=fedavg,scaffold seed=1,2,3      every combination
  hansa simulate task=./mine.py:MyTask client.lr=0.01        a task of your own
  hansa partition task=digits partition=dirichlet clients=30   who has which examples, as a picture
  hansa simulate devices=phones cohort.size=20               on devices that come and go, in virtual time
  hansa simulate attack=alie strategy=median                 among clients some of which attack
  hansa simulate app=./my_flower_app lr=0.1                  any Flower app, unchanged
  hansa provision plants address=host:8443 clients=a,b       certificates, and an invitation for each device
  hansa serve plants rounds=50                               on the server
  hansa join a.invitation task.data_dir=/data                on a device

{verbs}

Settings are name=value; hansa simulate --help shows them all. --debug shows tracebacks, --version the version.
A run writes config.yaml, metrics.jsonl, model.safetensors, summary.json and curves.svg into its directory."""


def main() -> None:
    """Run ``hansa`` with the process's arguments.

    Exits with 0, 1 (an error), 2 (wrong use), 3 (a device that is not wanted any more), 4 (a client that is required
    was counted in no round) or 130 (interrupted).
    """
    sys.path[:] = [folder for folder in sys.path if folder]  # as with -P: no file here passes for a library's
    only_tls_1_3()
    sys.exit(run(sys.argv[1:]))


def run(words: list[str]) -> int:
    """Carry out a command line and return the exit code; an error is one line on standard error."""
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if not words or words[0] in ("-h", "--help", "help"):
        print(HELP.format(verbs="\n".join(f"  hansa {name:<12} {verb.about}" for name, verb in VERBS.items())))
        return 0
    if words[0] == "--version":
        print(f"hansa {importlib.metadata.version('hansa')}")
        return 0
    if words[0] not in VERBS:
        print(f"hansa: there is no verb {words[0]!r}: it is one of {', '.join(VERBS)}.", file=sys.stderr)
        return 2
    return _carry_out(words[0], words[1:], debug)


def _carry_out(verb: str, words: list[str], debug: bool) -> int:
    try:
        importlib.import_module(VERBS[verb].module).main(words)
    except KeyboardInterrupt:
        print(f"hansa {verb}: interrupted{VERBS[verb].kept}.", file=sys.stderr)
        return 130
    except Exception as error:  # noqa: BLE001 - the last resort of a command line
        if debug:
            traceback.print_exc()
        print(f"hansa {verb}: {told(error)}", file=sys.stderr)
        return int(getattr(error, "exit_code", 1))
    return 0
