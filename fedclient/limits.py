"""What a device's owner gives at most, in ``site.yaml`` of its home; a run can only ask for less."""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from hansa.fedlink.errors import FileError
from hansa.fedlink.files import read, replace

LARGEST = 2**16
"""Bytes of the file."""
MIB, GIB = 2**20, 2**30
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
UNITS |= {"KIB": 2**10, "MIB": MIB, "GIB": GIB, "TIB": 2**40}
SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([a-zA-Z]*)", re.ASCII)
SMALLEST_MEMORY = 512 * MIB
"""The worker process has half of that before it does any work."""
HEAD = """\
# What this device gives at most. A run can only ask for less: what asks for more is refused here, and told by name.
# hansa join reads this when it starts. Sizes are bytes, or as in 500 MB or 4 GiB; null stands for no limit.

"""
ABOUT = {
    "body": "bytes of one request's data, and of one answer's",
    "spool": "bytes of all requests and answers that are here at once",
    "memory": "bytes of the worker process; three quarters of this machine's when this was written",
    "cpu": "seconds of processor time for one request",
    "epochs": "passes over the training data for one request",
    "steps": "training steps for one request, where it counts steps and not epochs",
    "states": "bytes of what the client keeps of all runs; the oldest go first",
    "state_days": "days for which the client's state of a run is kept after its last request",
    "private": "patterns of tensors that never leave, beside the task's own",
    "least_clients": "the cohort.min that a run must have",
    "share_errors": "whether the text of an error, which may quote data, goes to the coordinator",
}


def most_memory() -> int | None:
    """Return three quarters of the memory that this machine, or container, has; None where it does not say."""
    found = [int(text) for path in CONTAINER if (text := _text(path)).isdigit()]
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", ()):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return max(min(found) * 3 // 4 // MIB * MIB, SMALLEST_MEMORY) if found else None


CONTAINER = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


@dataclass(frozen=True, kw_only=True)
class SiteLimits:
    """The fields of ``site.yaml``; the worker gets them with each order, as a mapping."""

    body: int = 4 * GIB
    spool: int = 8 * GIB
    memory: int | None = field(default_factory=most_memory)
    cpu: int | None = 86_400
    epochs: int = 1_000
    steps: int = 1_000_000
    states: int = 10 * GIB
    state_days: float = 30
    private: tuple[str, ...] = ()
    least_clients: int = 1
    share_errors: bool = False

    @classmethod
    def read(cls, home: Path) -> SiteLimits:
        """Read a home's file, which is written first where there is none; raises FileError."""
        path = home / "site.yaml"
        if not path.exists():
            replace(path, cls().text().encode())
        return cls.parse(read(path, LARGEST), path)

    @classmethod
    def parse(cls, content: bytes, path: Path) -> SiteLimits:
        """Read what the file holds; raises FileError."""
        try:
            text = content.decode()
            found, node = yaml.safe_load(text) or {}, yaml.compose(text, Loader=yaml.SafeLoader)
        except (yaml.YAMLError, ValueError, RecursionError):
            raise FileError(f"{path} is no YAML text: mend it, or remove it to begin with the defaults.") from None
        if not isinstance(found, dict):
            raise FileError(f"{path} has no fields: write name: value, or remove it to begin with the defaults.")
        if node is not None and len(node.value) > len(found):
            raise FileError(f"{path} has a field twice: leave one.")
        return cls(**{_known(name, path): _checked(name, value, path) for name, value in found.items()})

    def order(self) -> dict[str, Any]:
        """Return them as JSON has them."""
        return asdict(self)

    def text(self) -> str:
        """Return the file that says this, with what each field is."""
        lines = [f"{name}: {_written(name, value)}" for name, value in asdict(self).items()]
        return HEAD + "".join(f"{line:<22}  # {about}\n" for line, about in zip(lines, ABOUT.values(), strict=True))

    def told(self) -> Iterator[str]:
        """Yield two lines that say what a run can have, for who approves one."""
        size = {name: _written(name, getattr(self, name)) for name in ("body", "spool", "memory", "states")}
        work = f"memory {size['memory']}, cpu {_written('cpu', self.cpu)} s, {self.epochs:,} epochs"
        states = f"states of {size['states']} for {self.state_days:g} days"
        yield f"bodies of {size['body']}, together {size['spool']}; {work}; {states};"
        kept = ", ".join(map(ascii, self.private)) or "what the task says"
        errors = "with their text" if self.share_errors else "by type and line"
        yield f"private: {kept}; rounds of {self.least_clients} clients or more; errors are told {errors}"


def _known(name: object, path: Path) -> str:
    names = [field.name for field in fields(SiteLimits)]
    if name not in names:
        near = difflib.get_close_matches(str(name), names, 1, 0.0)[0]
        raise FileError(f"{path}: {str(name)[:40]!a} does not exist: nearest is {near}.")
    return str(name)


def _checked(name: str, value: Any, path: Path) -> Any:
    """Return a field's value; what is less than 1, where a number is wanted, would allow nothing."""
    if name in ("memory", "cpu") and value is None:
        return None
    if name in ("body", "spool", "memory", "states"):
        least = SMALLEST_MEMORY if name == "memory" else 1
        value = _bytes(value)
        right, wanted = value is not None and least <= value < 2**62, f"a size of at least {_written(name, least)}"
    elif name == "share_errors":
        right, wanted = type(value) is bool, "true or false"
    elif name == "private":
        right, wanted = isinstance(value, list) and all(type(part) is str for part in value), "a list of patterns"
    elif name == "state_days":
        right, wanted = type(value) in (int, float) and 0 < value <= 36_500, "a number above 0"
    else:
        right, wanted = type(value) is int and 1 <= value < 2**62, "a whole number of at least 1"
    if not right:
        raise FileError(f"{path}: {name} must be {wanted}{' or null' if name in ('memory', 'cpu') else ''}.")
    return tuple(value) if name == "private" else value


def _bytes(value: object) -> int | None:
    """Read a size, such as 4 GiB; None stands for none.

    >>> _bytes("4 GiB"), _bytes("1.5MB"), _bytes(17), _bytes("4 GiBs"), _bytes(True), _bytes(1.5)
    (4294967296, 1500000, 17, None, None, None)
    """
    if type(value) is int:
        return value
    match = SIZE.fullmatch(value) if isinstance(value, str) and len(value) < 40 else None
    unit = UNITS.get(match[2].upper()) if match else None
    return None if match is None or unit is None else math.floor(float(match[1]) * unit)


def _written(name: str, value: Any) -> str:
    """Write a field's value so that it is read as the same."""
    if value is None:
        return "null"
    if name in ("body", "spool", "memory", "states"):
        unit, size = next(((u, s) for u, s in (("GiB", GIB), ("MiB", MIB)) if value % s == 0), ("B", 1))
        return f"{value // size} {unit}"
    return str(value).lower() if isinstance(value, bool) else str(list(value) if name == "private" else value)


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
