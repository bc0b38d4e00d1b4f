"""The three-part digest: what all places must share, and what may differ. Imports no torch: it is asked for first."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping

from omegaconf import DictConfig

from hansa.conf.components import file_hash, is_file
from hansa.conf.compose import flat
from hansa.conf.parts import OPERATION, SITE


def learning_settings(config: DictConfig) -> dict[str, str]:
    """Return the part of a configuration that all places must share, as text, with the hashes of files it names."""
    settings = {"hansa": importlib.metadata.version("hansa")}
    for name, value in flat(config).items():
        if name in SITE | OPERATION:
            continue
        if name.endswith("_target_") and is_file(str(value)):
            settings[f"{name.partition('.')[0]} file"] = f"SHA-256 {file_hash(value)}"
            value = str(value).rpartition(":")[2]
        settings[name] = json.dumps(value)
    return settings


def digest(settings: Mapping[str, str]) -> str:
    """Return the SHA-256 of learning settings."""
    return hashlib.sha256(json.dumps(dict(settings), sort_keys=True).encode()).hexdigest()
