"""``hansa provision``: the certificates of a federation, and the invitations of its devices."""

from __future__ import annotations

import dataclasses
import hashlib
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from cryptography.hazmat.primitives.serialization import Encoding
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hansa.conf.errors import UnknownSetting, WrongValue
from hansa.conf.words import invited_task, nearest, number, split_words, truth
from hansa.fedlink.authority import DAY, Authority, load_root, new_root
from hansa.fedlink.certificates import MOST, checked_name, day, key_pem, read_peer
from hansa.fedlink.files import make_folder, read, replace
from hansa.fedlink.folder import Federation, ServerFolder
from hansa.fedlink.invitation import (
    TOKEN,
    Invitation,
    ca_fingerprint,
    invite,
    read_request_file,
    split_address,
    write_invitation,
)
from hansa.fedlink.signing import read_request
from hansa.fedlink.tokens import Entry, token_hash

HELP = """Make the certificates of a federation, and the invitations of its devices.

  hansa provision FOLDER address=host:8443 task=heart_disease clients=bergen,luebeck     a new federation
  hansa provision FOLDER clients=riga                    invite one more
  hansa provision list FOLDER                            who is invited, enrolled, expired, revoked
  hansa provision revoke FOLDER NAME                     let a device in no more
  hansa provision renew FOLDER                           a fresh certificate of the server
  hansa provision sign FOLDER device.request             sign for a device that cannot enrol itself

Settings of a new federation: name (FOLDER's), address, task (a name, or ./mine.py:MyTask), clients, valid_days=90,
token_days=7, issuer=true (the coordinator may sign for devices), ca= and ca_key= (a root of your own, in PEM).
Of an old one: clients, task, token_days, ca_key; with renew also address and valid_days; with sign also out=FILE."""

NEW = ("address", "clients", "task", "name", "valid_days", "token_days", "ca", "ca_key", "issuer")
ONLY_NEW = ("ca", "issuer", "valid_days")
LONGEST_DAYS, LONGEST_TOKEN = 3650, 365
SHOWN = 8
"""Files that are shown before it is said how many more there are."""

Settings = Mapping[str, str]
Made = tuple[list[Path], str]
"""Files that were made, and what to do with them."""


def main(words: Sequence[str]) -> None:
    """Carry out the words after ``hansa provision``."""
    if not words or words[0] in ("-h", "--help", "help"):
        print(HELP)
    elif words[0] in ACTIONS:
        action, places, known = ACTIONS[words[0]]
        found, given = split_words(words[1:], known)
        if len(found) != places:
            raise WrongValue(f"hansa provision {words[0]} takes {places} words before its settings, as in --help.")
        action(Path(found[0]), *found[1:], given=given, now=time.time())
    else:
        found, given = split_words(words, NEW)
        if len(found) != 1:
            near = f"the nearest verb is {nearest(found[0], ACTIONS)}" if found else "name it first"
            raise UnknownSetting(
                f"hansa provision takes one folder, not {' '.join(found) or 'none'!r}: {near}; see --help."
            )
        _provision(Path(found[0]), given, time.time())


def _provision(folder: Path, given: Settings, now: float) -> None:
    server, names = ServerFolder(path=folder / "server"), _names(given)
    seconds = number(given, "token_days", 7, LONGEST_TOKEN) * DAY
    lines: list[Made] = []
    if server.exists:
        signer = _signer(folder, server, given, now)
        _agree(server, given)
    else:
        federation = _federation(folder, given)
        signer = _create(folder, server, federation, given, now)
        lines += _made(folder, server, federation, ours="ca" not in given)
    lines += _invite(folder, server, signer, names, now, seconds)
    _show(lines)
    if lines:
        _say(f"Fingerprint of the CA, for whoever wants to compare: {ca_fingerprint(read(server.ca, MOST))}")


def _names(given: Settings) -> list[str]:
    names = [checked_name(name.strip()) for name in given["clients"].split(",")] if given.get("clients") else []
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise WrongValue(f"clients: {twice[0]!r} is there twice: give each device a name of its own.")
    return names


def _federation(folder: Path, given: Settings) -> Federation:
    """Read what is agreed for all from the settings of a new federation."""
    for name, example in (("address", "coordinator.example.org:8443"), ("task", "heart_disease")):
        if not given.get(name):
            raise WrongValue(f"a new federation needs its {name}: add {name}=, as in {name}={example}.")
    split_address(given["address"], WrongValue)
    return Federation(
        name=checked_name(given.get("name", folder.resolve().name)),
        address=given["address"],
        task=invited_task(given["task"]),
        valid_days=number(given, "valid_days", 90, LONGEST_DAYS),
    )


def _create(folder: Path, server: ServerFolder, federation: Federation, given: Settings, now: float) -> Authority:
    """Make root and server; return who signs."""
    issuing = truth(given, "issuer", True)
    if ("ca" in given) != ("ca_key" in given):
        raise WrongValue("ca= and ca_key= belong together: give the files of a root's certificate and key, or neither.")
    for path in (folder / "ca", server.path):
        if path.exists():
            raise WrongValue(
                f"{path} is there without {server.path / 'federation.json'}: restore that, or remove both."
            )
    if "ca" in given:
        root = load_root(read(Path(given["ca"]), MOST), read(Path(given["ca_key"]), MOST), now)
    else:
        root = new_root(federation.name, now)
    issuer = root.issuing(federation.name, now) if issuing else None
    make_folder(folder)
    if "ca" not in given:
        make_folder(folder / "ca")
        replace(folder / "ca" / "ca.key", key_pem(root.key), secret=True)
        replace(folder / "ca" / "ca.pem", root.certificate.public_bytes(Encoding.PEM))
    server.make(root, issuer, federation, now)
    return issuer or root


def _agree(server: ServerFolder, given: Settings) -> None:
    """See that settings fit a federation that is there; its task may be another one from now on."""
    federation = server.federation()
    if not given.keys() & {"clients", "task"}:
        raise WrongValue(f"{server.path} is there already: name whom to invite with clients=, or see --help.")
    for name in ONLY_NEW:
        if name in given:
            raise WrongValue(f"{server.path} is there already: {name}= is for a new federation; see --help for renew.")
    for name, old in (("address", federation.address), ("name", federation.name)):
        if given.get(name, old) != old:
            raise WrongValue(f"the {name} of {server.path} is {old}: leave {name}= out; see --help for renew.")
    if "task" in given:
        server.agree(dataclasses.replace(federation, task=invited_task(given["task"])))
        _say(f"Invitations carry {given['task']} from now on.")


def _server(folder: Path) -> ServerFolder:
    """Return the server's part of a federation that is there."""
    server = ServerFolder(path=folder / "server")
    if not server.exists:
        raise WrongValue(f"{folder} is no federation's folder: give the one that hansa provision made.")
    return server


def _signer(folder: Path, server: ServerFolder, given: Settings, now: float) -> Authority:
    """Return the authority whose key is at hand: the one named, the issuing one, the root."""
    own = folder / "ca" / "ca.key"
    if "ca_key" not in given and (issuer := server.issuer()) is not None:
        return issuer
    if "ca_key" in given or own.exists():
        return load_root(read(server.ca, MOST), read(Path(given.get("ca_key", own)), MOST), now)
    raise WrongValue(
        f"no key to sign with is in {folder}: do this where {own} is, or add ca_key=, the root's key file."
    )


def _invite(
    folder: Path, server: ServerFolder, signer: Authority, names: Sequence[str], now: float, seconds: float
) -> list[Made]:
    """Write an invitation for each name and note it in the book; return what to tell."""
    ca, federation = read(server.ca, MOST), server.federation()
    with server.book().writing() as entries:
        for name in names:
            _check_free(folder, name, entries.get(name, Entry(revoked=0.0)), now)
        for name in names:
            invitation = invite(
                signer,
                federation=federation.name,
                address=federation.address,
                ca=ca,
                client=name,
                token=secrets.token_bytes(TOKEN),
                task=federation.task,
                now=now,
                seconds=seconds,
            )
            entries[name] = _write(folder, invitation)
    there = "hansa join FILE" if server.issuer() else "hansa join --request FILE, and sign here what it makes"
    told = f"SECRET until used. To the device, by a safe way; there: {there}. Good until {day(now + seconds)}."
    return [([_path(folder, name) for name in names], told)] if names else []


def _check_free(folder: Path, name: str, entry: Entry, now: float) -> None:
    if (state := entry.state(now)) in ("invited", "enrolled"):
        raise WrongValue(
            f"{name!r} is {state} until {day(entry.until)}: choose another name, or for a device that lost its keys "
            f"first hansa provision revoke {folder} {name}."
        )


def _write(folder: Path, invitation: Invitation) -> Entry:
    make_folder(folder / "invitations")
    replace(_path(folder, invitation.client), write_invitation(invitation), secret=True)
    return Entry(
        token=token_hash(invitation.token),
        expires=invitation.expires,
        invitation=f"{read_peer(invitation.certificate).serial:x}",
    )


def _path(folder: Path, name: str) -> Path:
    """Return the file of a name's invitation; characters that are not letters or digits of any script are encoded."""
    stem = "".join(c if c.isalnum() else quote(c, safe="") for c in name)
    if len(stem.encode()) > 200:
        stem = hashlib.sha256(name.encode()).hexdigest()
    return folder / "invitations" / f"{stem}.invitation"


def _sign(folder: Path, request: str, *, given: Settings, now: float) -> None:
    server = _server(folder)
    signer = _signer(folder, server, given, now)
    out = Path(given.get("out", Path(request).with_suffix(".crt")))
    if out.exists():
        raise WrongValue(f"{out} is there already: remove it, or name another file with out=.")
    name, asked, federation = read_request_file(Path(request))
    if federation is not None and federation != server.federation().name:
        raise WrongValue(f"{request} is for the federation {federation!a}, not {server.federation().name!r}: check it.")
    if read_request(asked).name != name:
        raise WrongValue(f"{request} names {name!a} and asks for another: have a new one made.")
    chain = server.registrar(signer).sign(asked, now)
    replace(out, chain)
    until = day(read_peer(chain).not_after)
    _show([([out], f"Not secret. To the device {name}, which asked for it. Good until {until}.")])


def _revoke(folder: Path, name: str, *, given: Settings, now: float) -> None:
    server = _server(folder)
    entries = server.book().read()
    if name not in entries:
        raise UnknownSetting(f"there is no client {name!r} in {folder}: nearest is {nearest(name, entries)}.")
    server.registrar(None).revoke(name, now)
    _path(folder, name).unlink(missing_ok=True)
    _say(
        f"{name} is revoked. A coordinator that runs from {server.path} lets it in no more; where it runs from a copy,"
    )
    _say(f"copy {server.revocations().path} and tokens.json there. Anew: hansa provision {folder} clients={name}")


def _list(folder: Path, *, given: Settings, now: float) -> None:
    table = Table("name", "state", "until", box=None, pad_edge=False)
    for name, entry in sorted(_server(folder).book().read().items()):
        until = entry.until if entry.revoked is None else entry.revoked
        state = entry.state(now)
        table.add_row(
            Text(name), Text(state, _STYLES[state]), day(until) if state != "revoked" else f"since {day(until)}"
        )
    Console().print(table)


def _renew(folder: Path, *, given: Settings, now: float) -> None:
    server = _server(folder)
    signer, old = _signer(folder, server, given, now), server.federation()
    address = given.get("address", old.address)
    split_address(address, WrongValue)
    days = number(given, "valid_days", old.valid_days, LONGEST_DAYS)
    server.certify(signer, dataclasses.replace(old, address=address, valid_days=days), now)
    until = day(read_peer(read(server.chain, MOST)).not_after)
    _show([([server.chain, server.key], f"SECRET. For {address}, good until {until}. A copy elsewhere needs both.")])
    if address != old.address:
        _say("Devices that are invited or enrolled know the old address: tell them the new one.")


def _made(folder: Path, server: ServerFolder, federation: Federation, *, ours: bool) -> list[Made]:
    host = split_address(federation.address)[0]
    root: Made = ([folder / "ca"], "SECRET. The root: keep it off the coordinator, with a backup.")
    mine: Made = ([server.path], f"SECRET. To {host}, where hansa serve runs; not needed on any device.")
    return [root, mine] if ours else [mine]


def _show(made: Sequence[Made]) -> None:
    for paths, told in made:
        more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
        _say(", ".join(map(str, paths[:SHOWN])) + more, "bold")
        _say(f"    {told}")


def _say(text: str, style: str = "") -> None:
    line = Text(text, style)
    line.highlight_words(["SECRET"], "bold red")
    Console().print(line, soft_wrap=True)


_STYLES = {"invited": "yellow", "enrolled": "green", "expired": "dim", "revoked": "red"}
ACTIONS: dict[str, tuple[Callable[..., None], int, tuple[str, ...]]] = {
    "list": (_list, 1, ()),
    "renew": (_renew, 1, ("address", "valid_days", "ca_key")),
    "revoke": (_revoke, 2, ()),
    "sign": (_sign, 2, ("out", "ca_key")),
}
"""What can be done to a federation that is there: how, with how many places, and which settings."""
