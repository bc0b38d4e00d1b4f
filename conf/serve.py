"""``hansa serve``: the coordinator on a server, with clients on devices of their own."""

from __future__ import annotations

import importlib.metadata
import ipaddress
import shlex
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from dataclasses import replace as replaced
from pathlib import Path

import torch
from omegaconf import DictConfig

from hansa.conf.carry import carry_out, coordinator_key, new_run_id, runner
from hansa.conf.compose import compose, own_code
from hansa.conf.digest import places
from hansa.conf.ending import Ending
from hansa.conf.errors import NotEveryone, WrongValue
from hansa.conf.parts import SITE
from hansa.conf.run import Run, assemble
from hansa.conf.virtual import demand_none
from hansa.conf.wire import check_places, is_code, sets
from hansa.conf.words import number, truth
from hansa.fedlink.authority import DAY
from hansa.fedlink.certificates import MOST, day, read_peer
from hansa.fedlink.errors import LinkError
from hansa.fedlink.files import read as read_file
from hansa.fedlink.files import replace
from hansa.fedlink.folder import ServerFolder
from hansa.fedlink.invitation import TaskFile, split_address
from hansa.fedlink.memory import keep_chunks
from hansa.fedlink.messages import Settings, fingerprints
from hansa.fedlink.protocol import Desk
from hansa.fedlink.protocol.effects import Notice
from hansa.fedlink.server import Server
from hansa.fedserver.link import LinkFederation
from hansa.fedserver.presence import Presence
from hansa.fedserver.runner import Hold, Runner, View
from hansa.fedserver.waiting import LONGEST, Tempo
from hansa.fedserver.watch import Json, Lines, Screen
from hansa.fedtasks.errors import listed

HELP = """Coordinate a run among devices.

  hansa serve FOLDER rounds=50 strategy=scaffold     FOLDER is that of hansa provision, or its part server/
  hansa serve FOLDER app=./server_app.py:app         a Flower ServerApp; settings are its run_config
  hansa serve insecure=true listen=127.0.0.1:8443    without certificates, on this machine only

Settings are those of hansa simulate (hansa simulate --help), and of the server itself: listen=HOST:PORT (all addresses
and the federation's port), log=text or json, require=all or none, heartbeat=SECONDS and patience=SECONDS. start_with=N
clients are waited for, everyone who is invited by default. Where all are required, as by default where each round has
everyone, the command ends with 4 if a client was counted in no round. A client that was silent for three heartbeats and
then gone for as long as patience lasts is left out of a round; both follow the rounds' seconds by default. Ctrl-C and
SIGTERM end a run in order: what was learnt is kept."""

OWN = ("listen", "log", "insecure", "app", "largest_reply", "require", "heartbeat", "patience")
SCHEMES = ("dns", "ipv4", "ipv6", "unix", "unix-abstract", "vsock")
"""What gRPC would not take for a host."""
HOUR = 3600.0


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A command line, taken apart: where to listen, how to log, and the words of the run."""

    folder: ServerFolder | None
    listen: str
    log: str
    words: list[str]
    app: str = ""
    """A Flower ServerApp to carry out instead of a run of Hansa's, whose configuration the words then are."""
    largest_reply: int | None = None
    """Bytes of a reply to that app; None where they follow from the message."""
    require: str = ""
    """``all`` or ``none``; empty where the cohort decides."""
    heartbeat: float | None = None
    patience: float | None = None
    """Seconds; None where they follow the rounds'."""


def main(words: Sequence[str]) -> None:
    """Carry out a run on a link; the last line on standard output is its summary."""
    if not words or words[0] in ("-h", "--help"):
        print(HELP)
        return
    keep_chunks()
    _many_files()
    torch.set_num_threads(1)
    asked = read(words)
    with Ending() as ending:
        if asked.app:
            _flowers(asked)
            return
        with deploy(asked, ending.hold) as carrying:
            carry_out(carrying)
            _demand_all(asked, carrying)


def _demand_all(asked: Asked, done: Runner) -> None:
    """Raise NotEveryone where clients that are required were counted in no round."""
    required = asked.require == "all" if asked.require else done.coordinator.job.cohort.wants_all
    if required and done.never:
        raise NotEveryone(
            f"counted in no round, though all are required: {listed(list(done.never))}: mend what is told "
            "above, and in never_counted of the summary, or set require=none."
        )


def _flowers(asked: Asked) -> None:
    """Carry out a Flower ServerApp on the link."""
    from hansa.conf import flower  # a second, which Hansa's own runs need not spend

    run_id = flower.new_run_id()
    with _listening(asked, flower.desk(run_id, asked.words)) as server:
        presence, tempo = _presence(asked, server.desk, lambda text: print(text, file=sys.stderr, flush=True))
        flower.carry_out(asked.app, server, presence, tempo, run_id, asked.words, asked.largest_reply)


def read(words: Sequence[str]) -> Asked:
    """Take a command line apart; raises WrongValue, and the errors of the folder's files."""
    own = {name: value for name, _, value in (word.partition("=") for word in words) if name in OWN}
    places = [word for word in words if "=" not in word]
    insecure = truth(own, "insecure", False)
    if len(places) > 1 or insecure == bool(places):
        raise WrongValue("name the federation's one folder, as in hansa serve plants; or insecure=true, and none.")
    folder = None if insecure else _folder(Path(places[0]))
    listen = own.get("listen") or (
        "127.0.0.1:8443" if folder is None else f"0.0.0.0:{split_address(folder.federation().address)[1]}"
    )
    host, _ = split_address(listen, WrongValue)
    if host in SCHEMES:
        raise WrongValue(f"listen={listen}: {host!r} is no host: name an address of this machine, as in 0.0.0.0:8443.")
    if folder is None and not _loopback(host):
        raise WrongValue(
            f"insecure=true listen={listen}: without certificates only 127.0.0.1, ::1 or localhost is safe."
        )
    if (log := own.get("log", "text")) not in ("text", "json"):
        raise WrongValue(f"log={log}: it is text or json.")
    if (require := own.get("require", "")) not in ("", "all", "none"):
        raise WrongValue(f"require={require}: it is all or none.")
    run = [word for word in words if "=" in word and word.partition("=")[0] not in OWN]
    if (app := own.get("app", "")) and require:
        raise WrongValue(f"require={require}: whom a Flower app needs is its own affair: leave it out.")
    return Asked(
        folder=folder,
        listen=listen,
        log=log,
        words=run if app else [*_task(folder, run), *run],
        app=app,
        largest_reply=int(number(own, "largest_reply", 1, 2**36)) if "largest_reply" in own else None,
        require=require,
        heartbeat=_seconds(own, "heartbeat", 1, 600),
        patience=_seconds(own, "patience", 0, DAY),
    )


def _seconds(own: Mapping[str, str], name: str, least: float, most: float) -> float | None:
    """Return a setting in seconds, None where it is empty; raises WrongValue."""
    if not own.get(name):
        return None
    if (seconds := number(own, name, most, most)) < least:
        raise WrongValue(f"{name}={own[name]}: it must be at least {least:g} s.")
    return seconds


@contextmanager
def deploy(asked: Asked, hold: Hold = nullcontext) -> Iterator[Runner]:
    """Listen, and build everything of a run on the link, and its directory; raises the errors of all packages."""
    config, choices = compose(own_code(asked.words))
    demand_none(config)
    run = assemble(config, choices)
    run_id = new_run_id()
    with _listening(asked, _desk(run_id, asked.words, places(config), run.job.settings)) as server:
        yield _runner(asked, config, run, run_id, server, hold)


@contextmanager
def _listening(asked: Asked, desk: Desk) -> Iterator[Server]:
    if asked.heartbeat is not None:
        desk.limits = replaced(desk.limits, heartbeat=asked.heartbeat)
    server = Server(desk=desk, address=asked.listen, folder=asked.folder)
    with server, _renewing(asked.folder, lambda text: server.events.put(Notice(text=text))):
        yield server


def _runner(asked: Asked, config: DictConfig, run: Run, run_id: str, server: Server, hold: Hold) -> Runner:
    presence, tempo = _presence(asked, server.desk, lambda text: view.say(text))
    view = _view(asked.log, run.job.rounds, presence)
    policy, invited = run.job.cohort, _invited(asked.folder)
    federation = LinkFederation(
        server=server, answers=_answers(run), clock=time.monotonic, presence=presence, least=run.job.least()
    )

    def least() -> int:
        return config.start_with or len(_invited(asked.folder)) or max(policy.needed, run.job.least())

    def gather() -> None:
        view.say(f"results go to {made.directory.path}; listening at {asked.listen}")
        whom = f", invited: {listed(invited)}" if invited else ""
        view.say(f"waiting for {least()} client{'s'[: least() != 1]}{whom}")
        federation.gather(least, config.start_within)

    made = runner(
        run,
        config,
        federation,
        run_id=run_id,
        own=coordinator_key(config, "entropy"),
        view=view,
        clock=time.monotonic,
        gather=gather,
        rest=federation.rest,
        paced=tempo.over,
        absent=lambda: presence.absent(invited, all_asked=policy.size is None),
        names=invited or None,
        hold=hold,
    )
    return made


def _presence(asked: Asked, desk: Desk, say: Callable[[str], None]) -> tuple[Presence, Tempo]:
    """Return who is there, and what tells those who follow the rounds of their seconds."""
    presence = Presence(
        clock=time.monotonic,
        say=say,
        silence=lambda client: desk.silence(client, time.monotonic()),
        patience=LONGEST if asked.patience is None else asked.patience,
    )
    followers = [presence.follow] * (asked.patience is None) + [desk.pace] * (asked.heartbeat is None)
    return presence, Tempo(followers=followers)


def _folder(place: Path) -> ServerFolder:
    for path in (place / "server", place):
        if (folder := ServerFolder(path=path)).exists:
            _renew(folder, time.time())
            return folder
    raise WrongValue(
        f"{place} is no federation's folder: make one with hansa provision {place} address=... clients=..."
    )


def _renew(folder: ServerFolder, now: float) -> None:
    """Give the server a fresh certificate when a third of its life is left, where there is a key to sign with."""
    peer, issuer = read_peer(read_file(folder.chain, MOST)), folder.issuer()
    if now > peer.not_after - folder.federation().valid_days * DAY / 3 and issuer is not None:
        folder.certify(issuer, folder.federation(), now)
    elif now >= peer.not_after:
        raise WrongValue(
            f"the server's certificate was good until {day(peer.not_after)}: hansa provision renew FOLDER."
        )


@contextmanager
def _renewing(folder: ServerFolder | None, tell: Callable[[str], None], every: float = HOUR) -> Iterator[None]:
    """Renew the server's certificate in time while a run goes on, which may be longer than its life."""
    over = threading.Event()

    def renew(folder: ServerFolder) -> None:
        while not over.wait(every):
            try:
                _renew(folder, time.time())
            except (LinkError, WrongValue) as error:
                tell(f"the server's certificate is not renewed: {error}")

    if folder is not None:
        threading.Thread(target=renew, args=(folder,), name="hansa-renewal", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _task(folder: ServerFolder | None, words: Sequence[str]) -> list[str]:
    """Return the word for the federation's task where no word names one; a task file is laid beside the keys."""
    if folder is None or any(word.startswith("task=") for word in words):
        return []
    task = folder.federation().task
    if not isinstance(task, TaskFile):
        return [f"task={task}"]
    path = folder.path / task.file
    replace(path, task.text.encode())
    return [f"task={path}:{task.class_name}"]


def _desk(run_id: str, words: Sequence[str], own: Collection[str], settings: Settings) -> Desk:
    """Return a desk that tells clients the run's settings: none of a place's own, and files without their folders."""
    told = [word for word in words if not any(sets(word, name) for name in SITE | set(own))]
    told = [f"{w.partition('=')[0]}={w.rpartition('/')[2]}" if is_code(w) and "/" in w else w for w in told]
    version = importlib.metadata.version("hansa")
    check_places(shlex.join(told), "", own)
    return Desk(software=f"hansa {version}", run=run_id, settings=tuple(told), fields=fingerprints(settings))


def _answers(run: Run) -> dict[str, int]:
    """Return the bytes of a row of each endpoint."""
    wires = {name: end.pipeline.wire for name, end in run.job.endpoints.items()}
    return {name: wire.dim * wire.dtype.itemsize for name, wire in wires.items()}


def _invited(folder: ServerFolder | None) -> list[str]:
    if folder is None:
        return []
    states = {name: entry.state(time.time()) for name, entry in folder.book().read().items()}
    return sorted(name for name, state in states.items() if state in ("invited", "enrolled"))


def _view(log: str, rounds: int, presence: Presence) -> View:
    if log == "json":
        return Json(time.time)
    return Screen(rounds, doing=presence.doing) if sys.stderr.isatty() else Lines(rounds)


def _many_files() -> None:
    """Let this process have as many connections and files as the system allows; each client is one or two."""
    if sys.platform != "win32":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
