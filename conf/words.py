"""Words of a command line that need no Hydra: ``name=value`` settings, and a task by its name or in a file."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from hansa.conf.components import is_file
from hansa.conf.errors import CannotLoad, UnknownSetting, WrongValue
from hansa.conf.parts import shipped
from hansa.fedlink.files import read
from hansa.fedlink.invitation import LARGEST_TASK, TaskFile
from hansa.fedlink.plain import demand_plain


def split_words(words: Sequence[str], known: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """Part words into places and settings; raises UnknownSetting with the nearest of those known.

    >>> split_words(["fed", "clients=bergen,riga"], ["clients"])
    (['fed'], {'clients': 'bergen,riga'})
    """
    places = [word for word in words if "=" not in word]
    given = {name: value for name, _, value in (word.partition("=") for word in words if "=" in word)}
    for name in given:
        if name not in known:
            raise UnknownSetting(f"setting {name!r} does not exist: nearest is {nearest(name, known)}.")
    return places, given


def nearest(word: str, known: Iterable[str]) -> str:
    """Return what is most like a word."""
    return ", ".join(difflib.get_close_matches(word, [*known], 1, 0.0)) or "none"


def number(given: Mapping[str, str], name: str, default: float, most: float) -> float:
    """Return a setting as a number above 0; raises WrongValue."""
    try:
        value = float(given.get(name, default))
    except ValueError:
        value = 0.0
    if not 0 < value <= most:
        raise WrongValue(f"{name}={given[name]}: it must be a number above 0, and {most:g} at most.")
    return value


def truth(given: Mapping[str, str], name: str, default: bool) -> bool:
    """Return a setting that is true or false; raises WrongValue."""
    value = given.get(name, str(default)).lower()
    if value not in ("true", "false"):
        raise WrongValue(f"{name}={given[name]}: it must be true or false.")
    return value == "true"


def invited_task(target: str) -> str | TaskFile:
    """Return a built-in task's name, or read ``path.py:Class`` without running it.

    Raises UnknownSetting, CannotLoad, FileError.
    """
    if is_file(target):
        path, _, name = target.rpartition(":")
        return _task_file(Path(path), name)
    if target not in shipped("task"):
        raise UnknownSetting(f"task={target} does not exist: nearest is task={nearest(target, shipped('task'))}.")
    return target


def _task_file(path: Path, name: str) -> TaskFile:
    if not path.is_file():
        raise CannotLoad(f"{path} is no file: give the path of a Python file, as in ./mine.py:MyTask.")
    content = read(path, LARGEST_TASK)
    text = demand_plain(content, str(path), CannotLoad)
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise CannotLoad(f"{path}{line}: this is no Python text: mend it first.") from None
    there = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    given = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
    there += [target.id for target in given if isinstance(target, ast.Name)]  # a Flower ClientApp, not a class
    if name not in there:
        raise CannotLoad(f"{path} has no class {name!r}: nearest is {nearest(name, there)}.")
    return TaskFile(file=path.name, class_name=name, text=text)
