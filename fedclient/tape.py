"""A training step as a flat list of torch's own operations: recorded once a shape, then played without autograd.

It is for use under ``torch.no_grad()``, where a step asks for gradients itself. Recording runs the step as it is and
notes each operation that it comes to, backward pass included. Playing calls the same operations on the same values, so
the bits are the same, without the walk through modules and autograd, which is most of a small model's time. A step that
draws random numbers, changes a tensor in place (BatchNorm does) or looks at a value is not recorded; and a tape whose
first results differ by a bit from the step's own is thrown away.
"""

from __future__ import annotations

import keyword
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from hansa.fedclient.errors import UnsteadyModel

Step: TypeAlias = Callable[..., Sequence[Tensor | None]]
"""From tensors to the loss and its gradients; None for a gradient that is not there."""

CHECKED = 2
"""Uses of a new tape at which a difference only means that the step cannot be played."""
SHAPES = 64
"""Tapes that are kept; further shapes are computed by the step itself."""
aten = torch.ops.aten
DETACH, TURNS = aten.detach.default, (aten.t.default, aten.transpose.int)
VIEWS = (aten.view.default, aten._unsafe_view.default, aten.expand.default)
FILLED = (aten.ones_like.default, aten.zeros_like.default)

_Line: TypeAlias = tuple[Any, Any, Any, Any]
"""An operation, its arguments, those by name, and its results."""


class _Cannot(Exception):
    """A step that cannot be played from a tape."""


@dataclass
class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes operations; tensors are numbered in the order in which they come up."""

    given: Sequence[Tensor]
    lines: list[_Line] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen = list(self.given)  # kept alive, so that no two have one id
        self.known = {id(tensor): i for i, tensor in enumerate(self.seen)}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch imports its compiler, for a second and a half

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if (
            op._schema.is_mutable
            or torch.Tag.nondeterministic_seeded in op.tags
            or torch.Tag.data_dependent_output in op.tags
            or "batch_norm" in op._schema.name
        ):
            raise _Cannot
        kwargs = kwargs or {}
        result = op(*args, **kwargs)
        noted = tree_map(self.number, (args, kwargs))
        self.lines.append((op, *noted, tree_map(self.number, result)))
        return result

    def number(self, leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        if id(leaf) not in self.known:
            self.known[id(leaf)] = len(self.seen)
            self.seen.append(leaf)
        return _Slot(self.known[id(leaf)])


@dataclass(frozen=True)
class _Slot:
    """A tensor's number on a tape."""

    number: int

    def __repr__(self) -> str:
        return f"v{self.number}"


def record(step: Step, given: Sequence[Tensor]) -> tuple[Sequence[Tensor | None], Step | None]:
    """Run a step; return its results, and a function that plays it, where it can be played."""
    recorder = _Recorder(given)
    try:
        with recorder:
            results = step(*given)
    except _Cannot:
        return step(*given), None
    ends = [None if result is None else recorder.number(result) for result in results]
    return results, _compiled(_tidy(recorder.lines, ends, recorder.seen), recorder.seen, len(given))


def _tidy(
    lines: list[_Line], ends: list[_Slot | None], seen: Sequence[Tensor]
) -> tuple[list[_Line], list[_Slot | None]]:
    """Leave out what is a constant, what is the same tensor once more, and what nobody reads."""
    same: dict[_Slot, _Slot] = {}
    known: dict[str, _Slot] = {}
    kept = []
    for op, args, kwargs, result in lines:
        args, kwargs = tree_map(lambda leaf: same.get(leaf, leaf) if isinstance(leaf, _Slot) else leaf, (args, kwargs))
        if op in FILLED or not _slots((args, kwargs)):
            continue  # as recorded it serves as a constant
        if isinstance(result, _Slot):
            text = repr((op, args, kwargs))
            twin = known.get(text) or _renamed(op, args, result, seen)
            known[text] = twin or result
            if twin:
                same[result] = twin
                continue
            if op in TURNS:
                known[repr((op, (result, *args[1:]), kwargs))] = args[0]
        kept.append((op, args, kwargs, result))
    ends = [None if end is None else same.get(end, end) for end in ends]
    return _read(kept, ends), ends


def _renamed(op: Any, args: Any, result: _Slot, seen: Sequence[Tensor]) -> _Slot | None:
    """Return the tensor that an operation only gives another name, if it does so."""
    if op is DETACH:
        return args[0]  # type: ignore[no-any-return]
    if op not in VIEWS:
        return None
    there, here = seen[args[0].number], seen[result.number]
    return args[0] if there.shape == here.shape and there.stride() == here.stride() else None


def _read(lines: list[_Line], ends: list[_Slot | None]) -> list[_Line]:
    wanted, kept = {end for end in ends if end is not None}, []
    for line in reversed(lines):
        if wanted & _slots(line[3]):
            wanted |= _slots(line[1:3])
            kept.append(line)
    return kept[::-1]


def _slots(tree: Any) -> set[_Slot]:
    return {leaf for leaf in tree_flatten(tree)[0] if isinstance(leaf, _Slot)}


def _compiled(tape: tuple[list[_Line], list[_Slot | None]], seen: list[Tensor], given: int) -> Step:
    """Write a tape as one Python function of the given tensors; what it meets besides them are constants."""
    (lines, ends), names = tape, _Names()
    body, there = [], {_Slot(i) for i in range(given)}
    for op, args, kwargs, result in lines:
        for slot in _slots((args, kwargs)) - there:
            names.values[repr(slot)] = seen[slot.number]
        there |= _slots(result)
        words = [names.write(arg) for arg in args] + [f"{_word(k)}={names.write(v)}" for k, v in kwargs.items()]
        body.append(f"    {names.targets(result)} = {names.constant(op._op)}({', '.join(words)})")
    arguments = ", ".join(f"v{i}" for i in range(given))
    told = ", ".join("None" if end is None else repr(end) for end in ends)
    text = "\n".join([f"def play({arguments}):", *body, f"    return ({told},)"])
    exec(text, names.values)  # the text is made of names of our own only
    return names.values["play"]  # type: ignore[no-any-return]


def _word(name: str) -> str:
    if not name.isidentifier() or keyword.iskeyword(name):
        raise AssertionError(f"{name!r} is no name of an argument.")
    return name


@dataclass
class _Names:
    """The values that a tape's text refers to by name."""

    values: dict[str, Any] = field(default_factory=dict)

    def constant(self, value: Any) -> str:
        name = f"c{len(self.values)}"
        self.values[name] = value
        return name

    def write(self, value: Any) -> str:
        if isinstance(value, (list, tuple)):
            return f"[{', '.join(self.write(part) for part in value)}]"
        if value is None or isinstance(value, (_Slot, bool, int)):
            return repr(value)
        return self.constant(value)

    def targets(self, result: Any) -> str:
        if isinstance(result, (list, tuple)):
            return f"({''.join(f'{self.targets(part)}, ' for part in result)})"
        return repr(result) if isinstance(result, _Slot) else "_"


@dataclass
class Tapes:
    """Computes a step: the first time by itself, then from a tape for each shape of ``changing`` tensors in front.

    Each tape is compared with the step at its first uses, and then ever more rarely. Where it differs at once, the step
    goes on without; raises UnsteadyModel where it differs later.
    """

    step: Step
    changing: int = 2
    _plays: dict[Any, Step | None] = field(default_factory=dict)
    _uses: dict[Any, int] = field(default_factory=dict)

    def __call__(self, *given: Tensor) -> Sequence[Tensor | None]:
        key = tuple((tensor.shape, tensor.dtype) for tensor in given[: self.changing])
        if key not in self._plays:
            if len(self._plays) >= SHAPES:
                return self.step(*given)
            results, self._plays[key] = record(self.step, given)
            self._uses[key] = 0
            return results
        if (play := self._plays[key]) is None:
            return self.step(*given)
        uses = self._uses[key] = self._uses[key] + 1
        if uses & (uses - 1) == 0:
            return self._compared(key, play, given)
        return play(*given)

    def _compared(self, key: Any, play: Step, given: Sequence[Tensor]) -> Sequence[Tensor | None]:
        results = self.step(*given)
        if not _plays_the_same(play, given, results):
            if self._uses[key] > CHECKED:
                raise UnsteadyModel(
                    "the model or its loss computes something else than in its first steps: let what changes be a "
                    "buffer of the model, not a Python value."
                )
            self._plays[key] = None
        return results


def _plays_the_same(play: Step, given: Sequence[Tensor], results: Sequence[Tensor | None]) -> bool:
    try:
        played = play(*given)
    except RuntimeError:  # an operation that only autograd can call, as those of some recurrent layers
        return False
    return all(
        ours is theirs if ours is None or theirs is None else torch.equal(ours, theirs)
        for ours, theirs in zip(results, played, strict=True)
    )
