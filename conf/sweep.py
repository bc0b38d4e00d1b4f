"""A sweep: one run of each combination of values, then one table and one picture of them all."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig
from rich.console import Console

from hansa.conf.carry import carry_out, new_run_id
from hansa.conf.errors import RunsFailed, WrongValue, told
from hansa.conf.sweep_table import UNBOUNDED, show
from hansa.fedlink.files import replace
from hansa.fedserver import sweep_picture
from hansa.fedserver.picture import all_series
from hansa.fedserver.runner import Runner
from hansa.fedserver.sweep import SweptRun, as_csv, as_json, label, rows


@dataclass(kw_only=True)
class Sweep:
    """Carries out one run after the other; the table of what has finished is written after each.

    ``words`` are the overrides, ``prepare`` builds a run. A run that fails does not end the others, and is told in the
    end.
    """

    words: Sequence[str]
    prepare: Callable[[DictConfig, Mapping[str, str]], AbstractContextManager[Runner]]
    plan: list[dict[str, str]] = field(default_factory=list)
    runs: list[SweptRun] = field(default_factory=list)
    path: Path = Path()
    error: Exception | None = None
    """That of the first run that failed."""

    def carry_out(self, config: DictConfig, choices: Mapping[str, str], words: Sequence[str]) -> None:
        """Carry out the next run, of these words. Raises WrongValue and FileError where the sweep cannot begin."""
        if not self.plan:
            self._begin(config)
        given = dict(word.lstrip("+").partition("=")[::2] for word in words)
        settings = {name: given[name] for name in self.plan[0]}
        number = len(self.runs) + 1
        name = f"{number:0{len(str(len(self.plan)))}} {label(settings)}".strip()
        config.run_dir = str(self.path / re.sub(r"[^\w.=+-]+", "-", name)[:100].strip("-"))
        print(f"run {number}/{len(self.plan)}: {label(settings) or 'as given'}", file=sys.stderr, flush=True)
        self._one(config, choices, SweptRun(number=number, settings=settings, directory=config.run_dir, stopped=""))

    def _begin(self, config: DictConfig) -> None:
        self.plan = combinations(self.words)
        self.path = Path(config.run_dir or f"runs/{new_run_id()}-sweep")
        try:
            self.path.mkdir(parents=True)
        except FileExistsError:
            raise WrongValue(f"run_dir={self.path} exists already: choose another for the sweep.") from None
        except OSError as error:
            raise WrongValue(f"run_dir={self.path} cannot be made: {error.strerror}: choose another.") from None

    def _one(self, config: DictConfig, choices: Mapping[str, str], run: SweptRun) -> None:
        runner: Runner | None = None
        stopped = "interrupted"
        try:
            with self.prepare(config, choices) as runner:
                carry_out(runner)
            stopped = "finished"
        except Exception as error:  # noqa: BLE001 - it is told in the end
            self.error = self.error or error
            stopped = told(error)
            print(f"run {run.number}/{len(self.plan)} failed: {stopped}", file=sys.stderr, flush=True)
        finally:
            done = {} if runner is None else {"summary": runner.summary, "series": all_series(runner.directory.records)}
            self.runs.append(SweptRun(**{**vars(run), **done, "stopped": stopped}))
            self._write()

    def _write(self) -> None:
        table = rows(self.plan, self.runs)
        replace(self.path / "sweep.csv", as_csv(table).encode())
        replace(self.path / "sweep.json", as_json(table, self.runs).encode())

    def end(self) -> None:
        """Draw and show what finished, and name what failed."""
        if not self.runs:
            return
        self._write()
        table = rows(self.plan, self.runs)
        replace(self.path / "sweep.svg", sweep_picture.curves(table, self.path.name).encode())
        show(table, Console(stderr=True, width=None if sys.stderr.isatty() else UNBOUNDED))
        for run in self.runs:
            if run.failed:
                print(f"failed: run {run.number}, {label(run.settings)}: {run.stopped}", file=sys.stderr)
        print(f"the table and the picture are sweep.csv, sweep.json, sweep.svg in {self.path}", file=sys.stderr)

    def demand_all(self) -> None:
        """Raise RunsFailed if any failed."""
        failed = [str(run.number) for run in self.runs if run.failed]
        if failed:
            raise RunsFailed(
                f"{len(failed)} of {len(self.plan)} runs failed, number {', '.join(failed)}: mend what is told above "
                f"and repeat them; the others are in {self.path}."
            ) from self.error


def combinations(words: Sequence[str]) -> list[dict[str, str]]:
    """Return the swept settings of each run, within Hydra; raises WrongValue."""
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    plan: list[dict[str, str]] = [{}]
    for override in parser.parse_overrides(list(words)):
        name = override.get_key_element().lstrip("+")
        if name == "run_dir" and (override.is_sweep_override() or "${" in str(override.input_line)):
            raise WrongValue(f"{override.input_line}: in a sweep it is one folder, in which each run has its own.")
        if override.is_sweep_override():
            values = list(override.sweep_string_iterator())
            plan = [{**settings, name: value} for settings in plan for value in values]
    return plan
