"""``hansa join``: a device becomes a client of a federation, and stays one."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import random
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from filelock import FileLock, Timeout

from hansa.conf import shown
from hansa.conf.components import is_file
from hansa.conf.errors import UnknownSetting, WrongValue
from hansa.conf.parts import SITE
from hansa.conf.words import invited_task, nearest, number, truth
from hansa.fedclient.agent import Agent, lines
from hansa.fedclient.limits import SiteLimits
from hansa.fedclient.place import NODE, Place, approved
from hansa.fedlink.certificates import MOST, checked_name
from hansa.fedlink.errors import Unreachable
from hansa.fedlink.files import read, replace
from hansa.fedlink.invitation import Invitation, TaskFile, ca_fingerprint, read_invitation, request_file, split_address
from hansa.fedlink.memory import keep_chunks
from hansa.fedlink.protocol import pause

HELP = """Become a client of a federation, and stay one.

  hansa join bergen.invitation task.data_dir=/data     shows what will run, asks, enrols, and stays connected
  hansa join hansa-bergen                              again, after it was ended: the home that the first time made
  hansa join bergen.invitation --request FILE          without a line to the coordinator: write a signing request,
  hansa join bergen.invitation certificate=FILE        and take the answer (hansa provision sign)

--yes approves without asking, --once does what is asked for and ends. Settings: home=DIR (./hansa-NAME), idle_after=30
(seconds that the worker stays warm), once_after=60, log=text or json; and the place's own, which no run can change, and
which are remembered (task.data_dir= without a value takes one away):
task.data_dir= and other options of the task that are each place's own, client.device=, strategy=./mine.py:MyRule (a
strategy file of which this is the approved copy), and node.NAME=, which a Flower ClientApp reads in its node_config."""

OWN = ("home", "certificate", "idle_after", "once_after", "log", "insecure", "address", "client", "task")
TASK = "task."
"""How settings begin that the task has; which of them are a place's own is known where the task is."""
FLAGS = ("--yes", "--once", "--request")

Settings = Mapping[str, str]


def main(words: Sequence[str]) -> None:
    """Join; returns when the device is ended in order. Raises the errors of all packages."""
    if not words or words[0] in ("-h", "--help"):
        print(HELP)
        return
    flags = [word for word in words if word.startswith("--")]
    if odd := [flag for flag in flags if flag not in FLAGS]:
        raise UnknownSetting(f"{odd[0]} does not exist: nearest is {nearest(odd[0], FLAGS)}.")
    files = [word for word in words if "=" not in word and word not in flags]
    given = {name: value for name, _, value in (word.partition("=") for word in words if "=" in word)}
    place = _place(files, given, flags)
    if place is not None:
        keep_chunks()
        _stay(place, given, once="--once" in flags)


def _place(files: list[str], given: Settings, flags: list[str]) -> Place | None:
    """Return the home of this device, enrolled; None where that now waits for a signature."""
    own = _own(given)
    if truth(given, "insecure", False):
        return _insecure(given, own)
    if not files or len(files) > 1 + ("--request" in flags):
        raise WrongValue("name one invitation, or the home of a device that has joined: hansa join bergen.invitation.")
    if (Path(files[0]) / "place.json").exists():
        place = Place.read(Path(files[0]).absolute())  # the worker runs in a folder of its own
    else:
        invitation = read_invitation(Path(files[0]), time.time())
        place = _invited(invitation, given, "--yes" in flags)
        if "--request" in flags:
            _request(place, Path(files[1] if len(files) > 1 else f"{quote(place.client, safe='')}.request"))
            return None
        if "certificate" in given:
            place.accept(read(Path(given["certificate"]), MOST), invitation.ca)
        elif not place.enrolled:
            _enrol(place, invitation)
        else:
            print(f"this device joined before: {place.home} is used, not the invitation; to begin anew, move it away")
    if not place.enrolled:
        raise WrongValue(f"{place.home} has no certificate yet: repeat the command with the invitation.")
    place.settings = _merged(place.settings, own)
    place.write()
    return place


def _own(given: Settings) -> list[str]:
    """Return the words of the place itself; raises UnknownSetting for any other."""
    own = [f"{name}={value}" for name, value in given.items() if name not in OWN]
    for word in own:
        name = word.partition("=")[0]
        if name not in SITE and not name.startswith((NODE, TASK)) and not is_file(word):
            raise UnknownSetting(
                f"setting {name!r} is none of a place's own: nearest is {nearest(name, [*OWN, *SITE])}."
            )
    return own


def _absolute(name: str, value: str) -> str:
    """Return a place's data or code by its whole path, for the worker runs elsewhere.

    A word of the task is a path where it is a file or folder here, and one of a Flower app where it begins as one.
    """
    is_path = name == "task.data_dir" or is_file(f"{name}={value}") or (name.startswith(TASK) and Path(value).exists())
    return str(Path(value).absolute()) if value and (is_path or value.startswith(("./", "../"))) else value


def _merged(before: Sequence[str], own: Sequence[str]) -> list[str]:
    """Put new settings over those that are remembered; an empty value takes one away."""
    words = dict(word.partition("=")[::2] for word in (*before, *own))
    return [f"{name}={_absolute(name, value)}" for name, value in words.items() if value]


def _invited(invitation: Invitation, given: Settings, yes: bool) -> Place:
    """Make or find the home of an invited device; what will run there is approved first."""
    home = Path(given.get("home") or f"hansa-{quote(invitation.client, safe='')}").absolute()
    if (home / "place.json").exists():
        place = Place.read(home)
        if place.client != invitation.client or place.federation != invitation.federation:
            raise WrongValue(
                f"{home} is the home of {place.client!r} of {place.federation!r}: choose another with home=."
            )
        return place
    _approve(invitation, home, yes)
    place = Place(
        home=home,
        federation=invitation.federation,
        address=invitation.address,
        client=invitation.client,
        task=approved(home, invitation.task),
    )
    place.write()
    SiteLimits.read(home)
    return place


def _approve(invitation: Invitation, home: Path, yes: bool) -> None:
    """Show what will run here, and ask; raises WrongValue where it is not wanted."""
    task = invitation.task
    print(f"federation   {shown.seen(invitation.federation)}, coordinator {shown.seen(invitation.address)}")
    print(f"authority    SHA-256 {ca_fingerprint(invitation.ca)}")
    print(f"this device  {shown.seen(invitation.client)}")
    if isinstance(task, TaskFile):
        _show(task)
    else:
        print(f"task         {shown.seen(task)}, which is part of Hansa")
    there = (home / "site.yaml").exists()
    limits = SiteLimits.read(home) if there else SiteLimits()
    print("a run can have", *limits.told(), f"by {home / 'site.yaml'}, where you may change it", sep="\n             ")
    if yes:
        return
    if not sys.stdin.isatty():
        raise WrongValue("nobody is here to approve this: read it, and repeat the command with --yes.")
    if input("Approve it, and join? [y/N] ").strip().lower() not in ("y", "yes"):
        raise WrongValue("not approved: nothing was kept, and the invitation stays good.")


def _show(task: TaskFile) -> None:
    """Show a program to its end, so that no line of it can pass for one of ours."""
    rows, count = shown.program(task.text, shutil.get_terminal_size((120, 24)).columns), len(shown.lines(task.text))
    print(f"task         {shown.seen(task.class_name)} of {shown.seen(task.file)}, SHA-256 {task.sha256};")
    print(f"             these {count} lines of code will run here:\n", *rows, sep="\n", end="\n\n")
    for name in shown.foreign_names(task.text):
        print(f"             a name has other letters than ASCII's: {shown.seen(name)}, which is {name!a}")
    print(f"             these were the {count} lines of {shown.seen(task.file)}")


def _enrol(place: Place, invitation: Invitation) -> None:
    """Get a certificate; wait for a coordinator that is not there yet. Raises EnrolmentRefused."""
    told, begun = "", time.monotonic()
    while not place.enrolled:
        try:
            asyncio.run(place.enrol(invitation, time.time()))
        except Unreachable as error:
            if str(error) != told:
                print(f"not enrolled yet: {error} Trying again, for ever.", file=sys.stderr, flush=True)
            told = str(error)
            time.sleep(pause(time.monotonic() - begun, random.random()))


def _request(place: Place, path: Path) -> None:
    replace(path, request_file(place.client, place.signing_request(), place.federation))
    print(f"{path} is no secret: have it signed where the CA's key is (hansa provision sign FOLDER {path.name}),")
    print("and repeat the command with certificate=FILE in place of --request.")


def _insecure(given: Settings, own: list[str]) -> Place:
    """Make a home for a coordinator without certificates, which must be on this machine."""
    for name in ("address", "client", "task"):
        if name not in given:
            raise WrongValue(f"insecure=true needs {name}=, as no invitation says it.")
    if split_address(given["address"])[0] not in ("127.0.0.1", "::1", "localhost"):
        raise WrongValue("insecure=true is for a coordinator on this machine: address=127.0.0.1:PORT.")
    home = Path(given.get("home") or f"hansa-{quote(given['client'], safe='')}").absolute()
    place = Place(
        home=home,
        federation="insecure",
        address=given["address"],
        client=checked_name(given["client"]),
        task=approved(home, invited_task(given["task"])),
        settings=_merged((), own),
        insecure=True,
    )
    place.write()
    return place


def _stay(place: Place, given: Settings, once: bool) -> None:
    if (log := given.get("log", "text")) not in ("text", "json"):
        raise WrongValue(f"log={log}: it is text or json.")
    write = lambda text: print(text, file=sys.stderr, flush=True)  # noqa: E731 - one way to write
    agent = Agent(
        place=place,
        software=f"hansa {importlib.metadata.version('hansa')}",
        tell=lines(time.time, write) if log == "json" else write,
        clock=time.monotonic,
        wall=time.time,
        chance=random.Random(),
        idle_after=number(given, "idle_after", 30, 86_400),
        once=number(given, "once_after", 60, 86_400) if once else None,
    )
    with _alone(place.home):
        asyncio.run(_until_told(agent))


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Keep others out of a device's home; the system lets go of it when the process ends, however that is."""
    try:
        with FileLock(home / "lock").acquire(blocking=False):
            yield
    except Timeout:
        raise WrongValue(f"{home}: another hansa join works there: end it, or give this one a home=FOLDER.") from None


async def _until_told(agent: Agent) -> None:
    """Let the agent live until it is over, or SIGTERM ends it in order."""
    living, terminated = asyncio.create_task(agent.live()), asyncio.Event()
    waiting = asyncio.current_task()

    def terminate() -> None:
        if waiting is not None and not terminated.is_set():
            terminated.set()
            waiting.cancel()

    with contextlib.suppress(NotImplementedError):  # where there are no such signals
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminate)
    try:
        await asyncio.shield(living)
    except asyncio.CancelledError:
        agent.leave()
        await asyncio.wait({living}, timeout=1)  # the goodbye goes out
        living.cancel()
        await asyncio.wait({living})
        if not terminated.is_set():
            raise  # Ctrl-C
