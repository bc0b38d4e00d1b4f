"""Components by name: a whitelist for names from files and from the wire; local code only for a local command line."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import importlib
import importlib.metadata
import importlib.util
import math
import os
import sys
import traceback
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hansa.conf.errors import CannotLoad, ConfigError, UnknownSetting, WrongValue
from hansa.conf.parts import SITE_OPTIONS
from hansa.fedclient.approval import vouch
from hansa.fedclient.outside import OWN

BUILT_IN = (
    "hansa.fedclient.Local",
    "hansa.fedserver.Asynchronous",
    "hansa.fedserver.CohortPolicy",
    "hansa.fedserver.selection.ByTag",
    "hansa.fedserver.selection.Oort",
    "hansa.fedserver.selection.Poisson",
    "hansa.fedserver.selection.PowerOfChoice",
    "hansa.fedserver.selection.RoundRobin",
    "hansa.fedserver.selection.Uniform",
    "hansa.fedserver.selection.Weighted",
    "hansa.fedtasks.digits.Digits",
    "hansa.fedtasks.heart_disease.HeartDisease",
    "hansa.fedtasks.huggingface.HuggingFace",
    "hansa.fedtasks.mnist.Mnist",
    "hansa.fedtasks.partitions.Dirichlet",
    "hansa.fedtasks.partitions.Exponential",
    "hansa.fedtasks.partitions.Iid",
    "hansa.fedtasks.partitions.Linear",
    "hansa.fedtasks.partitions.Natural",
    "hansa.fedtasks.partitions.Noise",
    "hansa.fedtasks.partitions.Pathological",
    "hansa.fedtasks.partitions.Quantity",
    "hansa.fedtasks.partitions.Shards",
    "hansa.fedtasks.partitions.Square",
    "hansa.fedtasks.shakespeare.Shakespeare",
    "hansa.fedtasks.synthetic.Synthetic",
    "hansa.simulations.attacks.Alie",
    "hansa.simulations.attacks.Backdoor",
    "hansa.simulations.attacks.Feature",
    "hansa.simulations.attacks.InnerProduct",
    "hansa.simulations.attacks.LabelFlip",
    "hansa.simulations.attacks.MinMax",
    "hansa.simulations.attacks.Noise",
    "hansa.simulations.attacks.Patch",
    "hansa.simulations.attacks.Replacement",
    "hansa.simulations.attacks.SignFlip",
    "hansa.simulations.devices.Availability",
    "hansa.simulations.devices.Compute",
    "hansa.simulations.devices.Dropout",
    "hansa.simulations.devices.Energy",
    "hansa.simulations.devices.Network",
    "hansa.strategies.Afl",
    "hansa.strategies.Bound",
    "hansa.strategies.Ditto",
    "hansa.strategies.FedAdagrad",
    "hansa.strategies.FedAdam",
    "hansa.strategies.FedAsync",
    "hansa.strategies.FedAvg",
    "hansa.strategies.FedAvgM",
    "hansa.strategies.FedBuff",
    "hansa.strategies.FedCM",
    "hansa.strategies.FedDyn",
    "hansa.strategies.FedNova",
    "hansa.strategies.FedPer",
    "hansa.strategies.FedProx",
    "hansa.strategies.FedRep",
    "hansa.strategies.FedYogi",
    "hansa.strategies.FineTuning",
    "hansa.strategies.FLTrust",
    "hansa.strategies.Ifca",
    "hansa.strategies.Moon",
    "hansa.strategies.PFedMe",
    "hansa.strategies.QFedAvg",
    "hansa.strategies.Quantise",
    "hansa.strategies.Rfa",
    "hansa.strategies.Robust",
    "hansa.strategies.rules.Bulyan",
    "hansa.strategies.rules.CentredClipping",
    "hansa.strategies.rules.GeometricMedian",
    "hansa.strategies.rules.Krum",
    "hansa.strategies.rules.Median",
    "hansa.strategies.rules.TrimmedMean",
    "hansa.strategies.Scaffold",
    "hansa.strategies.Term",
)
ENTRY_POINTS = "hansa.strategies"
"""The entry-point group in which installed packages offer strategies."""

PARTS = {"task": ("clients", "model", "data"), "strategy": ("endpoints", "init", "round")}
"""What a component of one's own must have."""

GIVEN = ("pipeline", "partition")
"""Fields that are components themselves, and are built from groups of their own."""

GUIDES = {"task": "docs/tasks.md", "strategy": "docs/own_strategies.md"}

_local: dict[str, type] = {}
_hashes: dict[str, str] = {}
"""The SHA-256 of each file of one's own as it was loaded."""


def installed() -> dict[str, importlib.metadata.EntryPoint]:
    """Return the strategies that other packages offer, by name."""
    return {point.name: point for point in importlib.metadata.entry_points(group=ENTRY_POINTS)}


def is_file(target: str) -> bool:
    """Whether a target is a file of one's own, ``path.py:Class``."""
    return ".py:" in target


def resolve(target: str) -> type:
    """Return the class of a target that is built in, installed, or allowed by ``allow``; raises CannotLoad."""
    if target in _local:
        return _local[target]
    if target in BUILT_IN:
        module, _, name = target.rpartition(".")
        return typing.cast(type, getattr(importlib.import_module(module), name))
    for point in installed().values():
        if point.value == target:
            return _entry_point(point)
    raise CannotLoad(
        f"{target!r} is none of Hansa's own components nor of an installed package: "
        "code of your own is named on the command line, as in strategy=./mine.py:MyRule."
    )


def allow(group: str, target: str) -> type:
    """Load ``path.py:Class`` for a local command line, and let configurations name it; raises CannotLoad."""
    path, _, name = target.rpartition(":")
    module = load(Path(path))
    if not isinstance(found := getattr(module, name, None), type):
        classes = [k for k, v in vars(module).items() if isinstance(v, type) and v.__module__ == module.__name__]
        near = difflib.get_close_matches(name, classes, 3, 0.0)
        raise CannotLoad(f"{path} has no class {name!r}: it has {', '.join(near) or 'no class at all'}.")
    _check_parts(group, target, found)
    _local[target] = found
    return found


def _check_parts(group: str, target: str, found: type) -> None:
    missing = [part for part in PARTS[group] if not callable(getattr(found, part, None))]
    missing += sorted(getattr(found, "__abstractmethods__", set()) - set(missing))
    if missing:
        raise CannotLoad(f"{group} {target} lacks {', '.join(f'{part}()' for part in missing)}: see {GUIDES[group]}.")


def file_hash(target: str) -> str:
    """Return the SHA-256 of a target's file as it was loaded."""
    return _hashes[str(Path(target.rpartition(":")[0]))]


def fields(component: type) -> dict[str, Any]:
    """Return a component's settings and their defaults; ``???`` where one must be given."""
    if not dataclasses.is_dataclass(component):
        return {}
    return {field.name: _default(field) for field in dataclasses.fields(component) if field.init}


def site_options(target: str) -> frozenset[str]:
    """Return the options of a component that are each place's own: all of type Path, and those in its ``site``.

    Raises CannotLoad where ``site`` has a name that is no option: a slip there would leave an option to every run.
    """
    if target in BUILT_IN:
        return frozenset(SITE_OPTIONS.get(target, ()))
    component = resolve(target)
    hints, known, said = typing.get_type_hints(component), fields(component), getattr(component, "site", ())
    if unknown := [name for name in said if name not in known]:
        raise CannotLoad(f"{target}: site has {unknown[0]!r}, which is none of its options: {', '.join(known)}.")
    return frozenset(said) | {name for name in known if _holds_paths(hints[name])}


def _holds_paths(hint: Any) -> bool:
    kind = typing.get_origin(hint) or hint
    inner = any(_holds_paths(part) for part in typing.get_args(hint))
    return inner or (isinstance(kind, type) and issubclass(kind, os.PathLike))


def build(where: str, values: Mapping[str, Any], **given: Any) -> Any:
    """Make the component that ``values["_target_"]`` names, from checked values, and components that stand in its
    fields; ``where`` is its place in the configuration. Raises UnknownSetting, WrongValue, CannotLoad."""
    component = resolve(target := str(values.get("_target_")))
    if where in PARTS:
        _check_parts(where, target, component)
    settings = {name: value for name, value in values.items() if name != "_target_"}
    hints, known = typing.get_type_hints(component), {k: v for k, v in fields(component).items() if k not in given}
    for name, value in settings.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 3, 0.0)
            raise UnknownSetting(
                f"{where}.{name} does not exist: {component.__name__} has {', '.join(near) or 'none'}."
            )
        settings[name] = _value(f"{where}.{name}", value, hints[name])
    return component(**settings, **{name: value for name, value in given.items() if name in fields(component)})


def _value(where: str, value: Any, hint: Any) -> Any:
    """Return a field's value: a component where it names one, else the checked value."""
    if not isinstance(hint, type) or not dataclasses.is_dataclass(hint):
        return _checked(where, value, hint)
    part = build(where, value) if isinstance(value, Mapping) else value
    if not isinstance(part, hint):
        raise WrongValue(f"{where}={value!r}: it must be a {hint.__name__}, such as those in conf/strategy.")
    return part


def _checked(where: str, value: Any, hint: Any) -> Any:
    """Return a value as its type hint wants it; containers are left to the component itself."""
    plain = {str, int, float, bool, type(None)}
    kinds = set(typing.get_args(hint)) if typing.get_origin(hint) in (typing.Union, types.UnionType) else {hint}
    if typing.get_origin(hint) is typing.Literal:
        if value not in typing.get_args(hint):
            raise WrongValue(f"{where}={value!r}: it is one of {', '.join(map(str, typing.get_args(hint)))}.")
        return value
    if Path in kinds and isinstance(value, str):
        return Path(value)
    if not kinds <= plain:
        return value
    if isinstance(value, float) and not math.isfinite(value):
        raise WrongValue(f"{where}={value}: it must be a finite number.")
    if type(value) is int and float in kinds and int not in kinds:
        return float(value)
    if type(value) not in kinds:
        names = " or ".join(sorted("empty" if kind is type(None) else kind.__name__ for kind in kinds))
        raise WrongValue(f"{where}={value!r}: it must be {names}.")
    return value


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return _plain(field.default)
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else "???"


def _plain(value: Any) -> Any:
    """Return a built-in component as the configuration writes it; anything else as it is."""
    targets = {target: target.rpartition(".")[2] for target in BUILT_IN} if dataclasses.is_dataclass(value) else {}
    for target, name in targets.items():
        if type(value).__name__ == name and resolve(target) is type(value):
            return {"_target_": target} | {known: getattr(value, known) for known in fields(type(value))}
    return value


def _entry_point(point: importlib.metadata.EntryPoint) -> type:
    try:
        return typing.cast(type, point.load())
    except (Exception, SystemExit) as error:
        raise CannotLoad(f"strategy {point.name!r} ({point.value}) cannot be loaded: {_told(error)}.") from error


def load(path: Path) -> types.ModuleType:
    """Run a person's own Python file from the bytes that lie there now: bytecode of it is neither kept nor believed.

    Raises CannotLoad, and NotApproved where it was approved with other bytes.
    """
    if not path.is_file():
        raise CannotLoad(f"{path} is no file: give the path of a Python file, as in ./mine.py:Mine.")
    name = f"{OWN}{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.origin is None:
        raise CannotLoad(f"{path} is no Python file: its name must end in .py.")
    vouch(path, content := path.read_bytes())
    _hashes[str(path)] = hashlib.sha256(content).hexdigest()
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        exec(compile(content, spec.origin, "exec", dont_inherit=True), module.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise CannotLoad(f"{path} does not import: {_told(error, path)}.") from error
    return module


def _told(error: BaseException, path: Path | None = None) -> str:
    """Write an error in one line, with the line of one's own file where it arose."""
    text = (str(error).splitlines() or [""])[0]
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if path and Path(frame.filename).resolve() == path.resolve()]
    lines = [error.lineno] if isinstance(error, SyntaxError) and error.lineno else lines
    return f"{f'line {lines[-1]}: ' if lines else ''}{type(error).__name__}: {text}"


__all__ = [
    "ConfigError",
    "allow",
    "build",
    "fields",
    "file_hash",
    "installed",
    "is_file",
    "load",
    "resolve",
    "site_options",
]
