"""A Flower app as it lies in a folder: its pyproject.toml, its two components, and the settings of a run."""

from __future__ import annotations

import importlib
import sys
import tomllib
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

from hansa.simulations.errors import AppError

Value = bool | int | float | str


@dataclass(frozen=True, kw_only=True)
class FlowerApp:
    """An app with both components imported; ``config`` are its own settings, flat; it asks for ``nodes`` nodes."""

    folder: Path
    server: ServerApp
    client: ClientApp
    config: dict[str, Value]
    nodes: int | None

    @classmethod
    def load(cls, folder: Path) -> FlowerApp:
        """Read and import an app; raises AppError. An import that fails is told with the app's own traceback."""
        project = _project(folder)
        flower = _table(project, "tool", "flwr")
        components = _table(flower, "app", "components")
        if missing := [name for name in ("serverapp", "clientapp") if not isinstance(components.get(name), str)]:
            raise AppError(
                f"{folder / 'pyproject.toml'} names no {' and no '.join(missing)}: give it a table "
                '[tool.flwr.app.components] with serverapp = "package.module:app" and clientapp.'
            )
        sys.path.insert(0, str(folder.resolve()))
        return cls(
            folder=folder,
            server=_component(folder, str(components["serverapp"]), ServerApp),
            client=_component(folder, str(components["clientapp"]), ClientApp),
            config=flat(_table(flower, "app", "config")),
            nodes=_nodes(flower),
        )

    def settings(self, given: Mapping[str, Value]) -> dict[str, Value]:
        """Return the run's settings: the app's own with those that are given; raises AppError for one it has not."""
        for name in given:
            if name not in self.config:
                there = ", ".join(self.config) or "none"
                raise AppError(f"setting {name!r} is none of this app's: its pyproject.toml has {there}.")
        return {**self.config, **given}


def flat(table: Mapping[str, Any], above: str = "") -> dict[str, Value]:
    """Return a table's values by their dotted names.

    >>> flat({"lr": 0.1, "model": {"depth": 2}})
    {'lr': 0.1, 'model.depth': 2}
    """
    found: dict[str, Value] = {}
    for name, value in table.items():
        found |= flat(value, f"{above}{name}.") if isinstance(value, Mapping) else {f"{above}{name}": value}
    return found


def _project(folder: Path) -> dict[str, Any]:
    path = folder / "pyproject.toml"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AppError(
            f"{folder} has no pyproject.toml: name the folder of a Flower app, as in app=./my_app."
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise AppError(f"{path} cannot be read ({error}): mend it.") from None


def _table(project: Mapping[str, Any], *names: str) -> dict[str, Any]:
    for name in names:
        found = project.get(name)
        project = found if isinstance(found, dict) else {}
    return dict(project)


def _nodes(flower: Mapping[str, Any]) -> int | None:
    """Return how many nodes the app's default federation simulates, where it says so."""
    federations = _table(flower, "federations")
    default = federations.get("default")
    options = _table(federations, str(default), "options") if default else {}
    number = options.get("num-supernodes")
    return number if isinstance(number, int) and number > 0 else None


def _component(folder: Path, target: str, kind: type) -> Any:
    module, _, name = target.partition(":")
    try:
        found = getattr(importlib.import_module(module), name or "app", None)
    except Exception as error:  # noqa: BLE001 - an app may raise anything
        print(_own_traceback(error, folder), file=sys.stderr, end="")
        raise AppError(f"{module} of {folder} does not import: {type(error).__name__}: {error}.") from None
    if not isinstance(found, kind):
        raise AppError(f"{target} of {folder} is no {kind.__name__}: name one in [tool.flwr.app.components].")
    return found


def _own_traceback(error: Exception, folder: Path) -> str:
    """Write a traceback from the app's first line on; how it was imported is nobody's concern."""
    frames, home = traceback.extract_tb(error.__traceback__), folder.resolve()
    first = next((i for i, frame in enumerate(frames) if home in Path(frame.filename).resolve().parents), len(frames))
    lines = ["Traceback (most recent call last):\n", *traceback.format_list(frames[first:])]
    return "".join([*lines, *traceback.format_exception_only(error)])
