"""The way to a Ray cluster: one that is there, or one on this machine that begins and ends with the run."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hansa.simulations.errors import EngineError
from hansa.simulations.scratch import scratch

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # would send the folder where the command runs
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else Ray warns of a change to come
}
os.environ.update(QUIET)  # Ray reads them when it is imported

import ray  # noqa: E402
import ray._private.worker as driver  # noqa: E402

CONNECTING, ANSWERING = 3.0, 10.0
"""Seconds in which an address must take a connection, and answer as Ray."""
ADDRESS = re.compile(r"[^/\s]+:\d{1,5}")
_print = driver.print_to_stdstream


def _told(data: dict[str, Any], **settings: Any) -> None:
    """Print what a cluster tells of on standard error: standard output is for a run's last line."""
    _print({**data, "is_err": True}, **settings)


driver.print_to_stdstream = _told


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A cluster that this process is connected to: one at a time. ``until`` has the folder of one that began here."""

    told: str
    until: ExitStack = field(default_factory=ExitStack)

    @classmethod
    def at(cls, address: str) -> Cluster:
        """Connect to a cluster at ``auto`` or host:port; raises EngineError where none answers in time."""
        if address != "auto" and not ADDRESS.fullmatch(address):
            raise EngineError(f"ray_address={address}: it is auto, host:port of the head node, or null to start one.")
        _demand(address)
        return cls(told=f"ray_address={address}")._connected(address=address)

    @classmethod
    def here(cls, cores: int) -> Cluster:
        """Start a cluster on this machine, which lends so many cores."""
        until = ExitStack()
        folder = until.enter_context(scratch(Path(tempfile.gettempdir())))
        cluster = cls(told="the local cluster", until=until)
        return cluster._connected(address="local", num_cpus=cores, include_dashboard=False, _temp_dir=str(folder))

    @property
    def cores(self) -> int:
        """How many cores its nodes have now."""
        return int(ray.cluster_resources().get("CPU", 0))

    def close(self) -> None:
        """Leave the cluster; one that began here ends."""
        ray.shutdown()
        self.until.close()

    def _connected(self, **settings: Any) -> Cluster:
        terminate = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(log_to_driver=False, logging_level="ERROR", **settings)
            signal.signal(signal.SIGTERM, terminate)  # Ray's own would end the run without its results
        except BaseException as error:
            self.close()
            if isinstance(error, Exception):
                raise EngineError(f"{self.told} cannot be used: {line(error)}: see docs/simulation.md.") from error
            raise
        return self


def line(error: object) -> str:
    """Return the first line of an error, or its last where the first only announces a traceback."""
    lines = [text.strip() for text in str(error).splitlines() if text.strip()] or [type(error).__name__]
    return lines[-1 if "Traceback" in str(error) else 0].rstrip(".:")


def _demand(address: str) -> None:
    """See that a cluster answers; Ray itself would try for minutes."""
    remedy = "start it there with ray start --head --port=6379, or leave ray_address out"
    if address != "auto":
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), CONNECTING).close()
        except (OSError, OverflowError) as error:
            raise EngineError(f"ray_address={address}: nobody answers there ({line(error)}): {remedy}.") from None
    asked = [sys.executable, "-m", "ray.scripts.scripts", "health-check"]
    asked += [] if address == "auto" else ["--address", address]
    with contextlib.suppress(subprocess.TimeoutExpired):
        done = subprocess.run(asked, capture_output=True, text=True, timeout=ANSWERING, check=False)
        if done.returncode:
            raise EngineError(f"ray_address={address}: no cluster to use ({_last(done.stderr)}): {remedy}.")
        return
    raise EngineError(f"ray_address={address}: what is there does not answer as Ray within {ANSWERING:g} s: {remedy}.")


def _last(text: str) -> str:
    return (text.strip().splitlines() or ["it does not say why"])[-1].rstrip(".")
