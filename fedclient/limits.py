"""What a device's owner allows at most, in ``site.yaml`` of its home; a run can only ask for less."""

from __future__ import annotations

import difflib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from hansa.fedlink.errors import FileError
from hansa.fedlink.files import read, replace

LARGEST = 2**16
"""Bytes of the file."""
TEXT = """\
# What this device allows at most. A run can only ask for less. Changes count from the next start of hansa join.
body: 4294967296     # bytes of one request's body
private: []          # patterns of tensors that never leave, beside the task's own
least_clients: 1     # the cohort.min that a run must have
share_errors: false  # whether the text of an error, which may quote data, goes to the coordinator
"""


@dataclass(frozen=True, kw_only=True)
class SiteLimits:
    """The fields of ``site.yaml``; the worker gets them with each order, as a mapping."""

    body: int = 2**32
    private: tuple[str, ...] = ()
    least_clients: int = 1
    share_errors: bool = False

    @classmethod
    def read(cls, home: Path) -> SiteLimits:
        """Read a home's file, which is written first where there is none; raises FileError."""
        path = home / "site.yaml"
        if not path.exists():
            replace(path, TEXT.encode())
        try:
            found = yaml.safe_load(read(path, LARGEST).decode()) or {}
        except (yaml.YAMLError, ValueError, RecursionError):
            raise FileError(f"{path} is no YAML text: mend it, or remove it to begin with the defaults.") from None
        if not isinstance(found, dict):
            raise FileError(f"{path} has no fields: write name: value, or remove it to begin with the defaults.")
        return cls(**{_known(name, path): _checked(name, value, path) for name, value in found.items()})

    def order(self) -> dict[str, Any]:
        """Return them as JSON has them."""
        return asdict(self)


def _known(name: object, path: Path) -> str:
    names = [field.name for field in fields(SiteLimits)]
    if name not in names:
        near = difflib.get_close_matches(str(name), names, 1, 0.0)[0]
        raise FileError(f"{path}: {str(name)[:40]!a} does not exist: nearest is {near}.")
    return str(name)


def _checked(name: str, value: Any, path: Path) -> Any:
    """Return a field's value; what is less than 1, where a number is wanted, would allow nothing."""
    if name == "share_errors":
        right, wanted = type(value) is bool, "true or false"
    elif name == "private":
        right, wanted = isinstance(value, list) and all(type(part) is str for part in value), "a list of patterns"
    else:
        right, wanted = type(value) is int and 1 <= value < 2**62, "a whole number of at least 1"
    if not right:
        raise FileError(f"{path}: {name} must be {wanted}.")
    return tuple(value) if name == "private" else value
