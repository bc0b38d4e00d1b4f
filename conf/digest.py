"""The three-part digest: what all places must share, and what may differ. Imports no torch: it is asked for first."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping

from omegaconf import DictConfig

from hansa.conf.components import file_hash, is_file, site_options
from hansa.conf.compose import flat
from hansa.conf.parts import OPERATION, SITE

TARGET = "_target_"


def learning_settings(config: DictConfig) -> dict[str, str]:
    """Return the part of a configuration that all places must share, as text, with the hashes of files it names."""
    settings, own = {"hansa": importlib.metadata.version("hansa")}, places(config)
    for name, value in flat(config).items():
        if name in SITE | OPERATION or any(f"{name}.".startswith(f"{place}.") for place in own):
            continue
        if name.endswith(TARGET) and is_file(str(value)):
            settings[f"{name.partition('.')[0]} file"] = f"SHA-256 {file_hash(value)}"
            value = str(value).rpartition(":")[2]
        settings[name] = json.dumps(value)
    return settings


def places(config: DictConfig) -> frozenset[str]:
    """Return the settings of chosen components that are each place's own, beside those of SITE."""
    targets = {name.removesuffix(TARGET): str(value) for name, value in flat(config).items() if name.endswith(TARGET)}
    return frozenset(f"{where}{option}" for where, target in targets.items() for option in site_options(target))


def digest(settings: Mapping[str, str]) -> str:
    """Return the SHA-256 of learning settings."""
    return hashlib.sha256(json.dumps(dict(settings), sort_keys=True).encode()).hexdigest()
