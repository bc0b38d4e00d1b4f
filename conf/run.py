"""From a checked configuration to a run: what the coordinator carries out and what a place answers with."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from hansa.conf.components import build, fields, resolve
from hansa.conf.digest import digest, learning_settings
from hansa.conf.errors import UnknownSetting, WrongValue
from hansa.conf.schema import RunSettings
from hansa.conf.target import target
from hansa.fedclient.site import Site
from hansa.fedclient.state import States
from hansa.fedclient.torch_work import Measure, TorchWork, traits
from hansa.fedserver.asynchronous import Asynchronous, unbuffered
from hansa.fedserver.job import Job
from hansa.fedserver.policy import CohortPolicy, Policy
from hansa.fedserver.selection import Selection, Uniform
from hansa.fedtasks import Task
from hansa.fedtasks.evaluation import channels
from hansa.fedtasks.model import tensors
from hansa.fedtasks.partitions import Iid
from hansa.strategies import Bound, Cohort, Endpoint, Evaluation, Problem, Question, Strategy
from hansa.strategies.keys import from_seed
from hansa.strategies.losses import LOSSES, losses_endpoint
from hansa.strategies.types import Array


@dataclass(frozen=True)
class Run:
    """A run's two halves: the coordinator's job, and the work that places do for it.

    ``more`` says what else the coordinator sums on its own data.
    """

    job: Job
    work: TorchWork
    more: tuple[Measure, ...] = ()

    def server_sums(self) -> Callable[[Array, Array], Mapping[str, Array]] | None:
        """Return what evaluates a model on the coordinator's data; only the coordinator needs to have them."""
        return self.work.central(*self.more) if self.job.evaluate_every else None

    def site(self, states: States, own: bytes) -> Site:
        """Return a place that answers this run's calls; ``own`` is its secret key."""
        job = self.job
        return Site(
            endpoints=job.endpoints,
            work=self.work,
            states=states,
            settings=job.settings,
            digest=job.digest,
            public=from_seed(job.seed, "public"),
            own=own,
        )


def assemble(config: DictConfig, choices: Mapping[str, str]) -> Run:
    """Build a run, and refuse what makes no sense before anything starts. Raises the errors of all packages."""
    values: dict[str, Any] = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
    task = checked_task(values, choices)
    local = build("client", values["client"])
    policy: Policy = build("cohort", values["cohort"])
    strategy = _strategy(values, choices)
    work = TorchWork(task, local, values["seed"], values["private"])
    questions = [(Question(query=query.name, channels=query.channels()), query) for query in task.queries]
    evaluation = _evaluation(values["evaluation"], task)
    problem = _problem(work, policy)
    learning = strategy.endpoints(problem)
    if isinstance(policy, Asynchronous) and (why := unbuffered(learning, policy.decay)):
        raise WrongValue(why)
    endpoints = {**learning, **evaluation.endpoints(problem.cohort)}
    for question, _ in questions:
        endpoints |= question.endpoints(problem.cohort)
    selection = _selection(values["selection"], policy, endpoints)
    endpoints |= losses_endpoint(problem.cohort) if selection.asks else {}
    settings = learning_settings(config)
    job = Job(
        task=choices["task"],
        strategy_name=choices["strategy"],
        strategy=strategy,
        problem=problem,
        endpoints=endpoints,
        layout=work.layout,
        tensors={name: tensor.copy() for name, tensor in tensors(work.model).items()},
        questions=questions,
        evaluation=evaluation,
        metrics=task.metrics,
        cohort=policy,
        selection=selection,
        rounds=_at_least("rounds", values["rounds"], 1),
        evaluate_every=_at_least("evaluation.every", values["evaluation"]["every"], 0),
        lost_rounds=_at_least("lost_rounds", values["lost_rounds"], 1),
        seed=values["seed"],
        target=target(values["target"]),
        settings=settings,
        digest=digest(settings),
    )
    return Run(job, work)


def _strategy(values: Mapping[str, Any], choices: Mapping[str, str]) -> Strategy:
    """Build the strategy with its pipeline; refuse a pipeline that it would not look at."""
    transforms = tuple(build(f"pipeline.{name}", part) for name, part in values["pipeline"].items())
    strategy: Strategy = build("strategy", values["strategy"], pipeline=transforms)
    if transforms != (Bound(),) and "pipeline" not in fields(type(strategy)):
        raise WrongValue(
            f"strategy {choices['strategy']} has no field 'pipeline', so that the settings of pipeline would do "
            "nothing: add 'pipeline: tuple[Transform, ...] = (Bound(),)' to it, or leave them as they are."
        )
    return strategy


def _problem(work: TorchWork, policy: Policy) -> Problem:
    """Say what the strategy's endpoints are built from."""
    return Problem(
        parameters=work.layout.size("shared"),
        cohort=Cohort(expected=policy.planned, max=policy.max, min=policy.min),
        training=traits(work.task, work.settings, work.model),
        private=work.layout.size("private"),
        metrics=channels(work.task),
        buffers=work.layout.buffers,
    )


def _check_names(values: Mapping[str, Any]) -> None:
    """Refuse what ``+name=value`` or a configuration file added."""
    known = [field.name for field in dataclasses.fields(RunSettings)]
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, 3, 0.0)
            raise UnknownSetting(f"setting {name!r} does not exist: nearest are {', '.join(near)}.")


def checked_task(values: Mapping[str, Any], choices: Mapping[str, str]) -> Task:
    """Build the task of a configuration, with the partition of its data."""
    _check_names(values)
    asked = dict(values["task"])
    if values["clients"] is not None:
        if "parts" not in fields(resolve(str(asked["_target_"]))):
            raise WrongValue(f"clients={values['clients']}: this task has clients of its own; leave it empty.")
        asked["parts"] = values["clients"]
    partition = build("partition", values["partition"])
    if partition != Iid() and "partition" not in fields(resolve(str(asked["_target_"]))):
        raise WrongValue(
            f"partition={choices['partition']}: task {choices['task']} has no field 'partition', so that it would do "
            "nothing: leave it at iid, or add 'partition: Partition = Iid()' to a task of your own (docs/tasks.md)."
        )
    task: Task = build("task", asked, partition=partition)
    return task


def _selection(values: Mapping[str, Any], policy: Policy, endpoints: Mapping[str, Endpoint]) -> Selection:
    """Build the selection; refuse what would never learn a client's loss, and a query that has its name."""
    selection: Selection = build("selection", values)
    if isinstance(policy, CohortPolicy):
        selection.check(policy)
    elif not isinstance(selection, Uniform):
        raise WrongValue("selection: with cohort=asynchronous who is idle is drawn uniformly: leave selection=uniform.")
    if selection.asks and LOSSES in endpoints:
        raise WrongValue(f"the task has a query of the name {LOSSES!r}, by which losses are asked for: rename it.")
    rows = [end for end in endpoints.values() if end.aggregator.groups == 0 and "loss" in end.pipeline.row.slices]
    if selection.learns and not selection.asks and not rows:
        raise WrongValue(
            "selection.ask=false: no client tells its loss: leave it true, set evaluation.by_client=true, or take a "
            "strategy that keeps rows, such as median."
        )
    return selection


def _evaluation(values: Mapping[str, Any], task: Task) -> Evaluation:
    if values["to"] not in ("everyone", "cohort", "nobody"):
        raise WrongValue(f"evaluation.to={values['to']}: it is everyone, cohort or nobody.")
    if values["to"] == "nobody" and values["by_client"]:
        raise WrongValue("evaluation.by_client=true: with evaluation.to=nobody no client evaluates: leave one out.")
    to = () if values["to"] == "nobody" else values["to"]
    return Evaluation(channels=channels(task), to=to, by_client=values["by_client"])


def _at_least(name: str, value: int, least: int) -> int:
    if value < least:
        raise WrongValue(f"{name}={value}: it must be at least {least}.")
    return value
