"""From words on a command line to one checked configuration."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from hansa.conf.components import GIVEN, PARTS, allow, fields, installed, is_file, resolve
from hansa.conf.errors import ConfigError, UnknownSetting, WrongValue
from hansa.conf.parts import GROUPS, shipped
from hansa.conf.schema import RunSettings

ConfigStore.instance().store(name="schema", node=RunSettings)
KINDS = {"Integer": "a whole number", "Float": "a number", "bool": "true or false", "not Optional": "given"}
CLIP = "pipeline.bound.clip"
_names: dict[tuple[str, str], str] = {}
"""Targets of one's own by group and the name under which they can be chosen."""


def compose(words: Sequence[str]) -> tuple[DictConfig, dict[str, str]]:
    """Compose a configuration from overrides; return it and the choice made in each group. Raises ConfigError."""
    try:
        with initialize_config_module("hansa.conf", version_base="1.3"):
            whole = hydra_compose("config", list(words), return_hydra_config=True)
            choices = {str(group): str(choice) for group, choice in whole.hydra.runtime.choices.items()}
            OmegaConf.set_struct(whole, False)
            del whole["hydra"]
            return whole, choices
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error, words) from error


def own_code(words: Sequence[str]) -> list[str]:
    """Let ``task=path.py:Class``, and strategies of installed packages, be chosen like the groups' own members, and
    norms be set for any channel of one's own rows.

    For local command lines only: it imports what they name. Raises CannotLoad.
    """
    return [_chosen(part) for word in words for part in _norms(word)]


def _norms(word: str) -> list[str]:
    """Let norms replace those of the pipeline's choice: Hydra would merge both, and refuse a channel that is new."""
    if word.startswith(f"{CLIP}={{"):
        return [f"{CLIP}=null", f"++{word}"]
    return [f"++{word}"] if word.startswith(f"{CLIP}.") else [word]


def _chosen(word: str) -> str:
    group, equals, values = word.partition("=")
    if not equals or group not in PARTS:
        return word
    return f"{group}={','.join(_registered(group, value) for value in values.split(','))}"


def _registered(group: str, value: str) -> str:
    """Put a component into Hydra's store under a name that Hydra's grammar allows, and return that name."""
    if is_file(value):
        component, target = allow(group, value), value
    elif group == "strategy" and value in installed() and value not in shipped(group):
        target = installed()[value].value
        component = resolve(target)
    else:
        return value
    name = _free(group, component.__name__ if is_file(value) else value, target)
    node = {"_target_": target, **{k: v for k, v in fields(component).items() if k not in GIVEN}}
    ConfigStore.instance().store(group=group, name=name, node=OmegaConf.create(node, flags={"allow_objects": True}))
    return name


def _free(group: str, name: str, target: str) -> str:
    """Return the name, or name_2, ..., that no other target of the group has: two files may have a class MyRule."""
    for tried in itertools.chain([name], (f"{name}_{i}" for i in itertools.count(2))):
        if tried not in shipped(group) and _names.setdefault((group, tried), target) == target:
            return tried
    raise AssertionError("names never end")


def explain(error: Exception, words: Sequence[str]) -> ConfigError:
    """Say in one line what was wrong with a configuration, with the nearest names."""
    if isinstance(error, OverrideParseException):
        return WrongValue(f"{error.override!r} cannot be read: write name=value, with each bracket and quote closed.")
    text = " ".join(str(error).split())
    cause = " ".join(str(error.__cause__ or "").split())
    if missing := re.search(r"Could not find '([\w/.-]+)'", text):
        return _unknown_choice(missing[1], text)
    if key := re.search(r"(?:Could not override|Key) '([\w./@-]+)'", text):
        return _unknown_key(key[1], cause, words)
    if several := re.search(r"Ambiguous value for argument '(.+?)'", text):
        return WrongValue(f"{several[1]}: for a run of each value add -m, for a list write [...] around them.")
    if again := re.search(r"already at '([\w.]+)'", text):
        return WrongValue(f"+{again[1]}: this setting exists already: leave out the +.")
    if key := re.search(r"full_key: ([\w.]+)", f"{text} {cause}"):
        return _wrong_value(key[1], str(cause or text).split(" full_key")[0])
    return WrongValue(f"{text}: see hansa simulate --help.")


def _wrong_value(key: str, told: str) -> ConfigError:
    """Say of what kind a value must be. The kinds are those of OmegaConf's messages."""
    for kind, wanted in KINDS.items():
        if kind in told:
            value = re.search(r"Value '(.*)' (?:of type|is not)", told)
            return WrongValue(f"{key}={value[1] if value else 'null'}: it must be {wanted}.")
    return WrongValue(f"{key}: {told}.")


def _unknown_choice(choice: str, text: str) -> ConfigError:
    group, _, name = choice.rpartition("/")
    there = re.search(r"Available options in '[\w/]+': (.*?)(?: Config search path|$)", text)
    if not there:
        return UnknownSetting(f"{choice!r} is no group of the configuration: see hansa simulate --help.")
    options = there[1].replace("'", "").replace(",", " ").split()
    options += [name for name in installed() if group == "strategy"]
    near = difflib.get_close_matches(name, options, 3, 0.0)
    return UnknownSetting(f"{group}={name} does not exist: nearest are {', '.join(f'{group}={n}' for n in near)}.")


def _unknown_key(key: str, cause: str, words: Sequence[str]) -> ConfigError:
    groups = [word for word in words if word.partition("=")[0] in GROUPS]
    if "is not in struct" not in cause and "not in" not in cause:
        return WrongValue(f"{key}: {cause or 'this value is impossible'}.")
    known = [name for name in flat(compose(groups)[0]) if not name.endswith("_target_")]
    near = difflib.get_close_matches(key, known, 3, 0.4) or difflib.get_close_matches(key, known, 3, 0.0)
    there = f" here, but with {', '.join(having[:3])}" if (having := _having(key)) else ""
    return UnknownSetting(f"setting {key!r} does not exist{there}: nearest are {', '.join(near)}.")


def _having(key: str) -> list[str]:
    """Return the choices of a setting's group that have it in their own files."""
    group, _, name = key.partition(".")
    written = files("hansa.conf").joinpath(group).iterdir() if group in GROUPS else ()
    texts = {file.name.removesuffix(".yaml"): file.read_text("utf-8") for file in written if ".yaml" in file.name}
    return [f"{group}={choice}" for choice, text in sorted(texts.items()) if name in flat(yaml.safe_load(text) or {})]


def flat(config: Mapping[str, Any] | DictConfig, above: str = "") -> dict[str, Any]:
    """Return a configuration's leaves by their dotted names."""
    leaves: dict[str, Any] = {}
    values = OmegaConf.to_container(config, resolve=True) if isinstance(config, DictConfig) else config
    assert isinstance(values, Mapping)
    for key, value in values.items():
        name = above + str(key)
        leaves |= flat(value, f"{name}.") if isinstance(value, Mapping) and value else {name: value}
    return leaves
