"""What of an error leaves a device: never its text, whatever type, name, note, cause or frame it has."""

from __future__ import annotations

import ast
import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from hansa.conf.components import load
from hansa.fedclient.errors import NotApproved, StageFailed, stage
from hansa.fedclient.greeting import failure_of
from hansa.fedclient.outside import KEPT, reason
from hansa.fedclient.state import MemoryStates, settle

ROOT = Path(__file__).parents[2]
ROW = "54,male,asymptomatic"
OWN = f"""
import numpy as np
ROW = {ROW!r}

class Plain(Exception): pass

class Outer:
    class Inner(ValueError): pass

class Unprintable(Exception):
    def __str__(self): raise RuntimeError(ROW)

class Odd(Exception):
    __module__ = property(lambda self: ROW)
    __notes__ = [ROW]

def plain(): raise Plain(ROW)
def inner(): raise Outer.Inner(ROW)
def number(): float(ROW)
def library(): np.zeros(3).reshape(ROW)
def unprintable(): raise Unprintable
def named(): raise type(ROW, (KeyError,), {{}})(ROW)
def identified(): raise type("Male54", (KeyError,), {{}})(ROW)
def misplaced(): raise type("Male54", (KeyError,), {{"__module__": "builtins", "__qualname__": "ValueError"}})(ROW)
def long(): raise type("x" * 5000, (Exception,), {{}})(ROW)
def public(): raise type("Mine", (Exception,), {{"public": True}})(ROW)
def approved():
    from hansa.fedclient.errors import NotApproved
    raise NotApproved(ROW)
def inherited():
    from hansa.fedclient.errors import NotApproved
    raise type("NotApproved", (NotApproved,), {{"__module__": "hansa.fedclient.errors"}})(ROW)
def noted():
    error = ValueError("short")
    error.add_note(ROW)
    raise error
def caused():
    try: number()
    except ValueError as error: raise RuntimeError("see above") from error
def group(): raise ExceptionGroup(ROW, [ValueError(ROW)])
def opened(): open("/nowhere/" + ROW)
def spelt(): raise OSError(54, ROW, ROW)
def executed(): exec(compile("raise ValueError(ROW)", ROW, "exec"), globals())
def filed(): exec(compile("raise ValueError(ROW)", ROW + ".py", "exec"), globals())
def odd(): raise Odd(ROW)
def staged():
    from hansa.fedclient.errors import stage
    with stage("loading data"): number()
"""
KINDS = {
    "plain": "Plain",
    "inner": "Inner",
    "number": "ValueError",
    "library": "TypeError",
    "unprintable": "Unprintable",
    "named": "KeyError",
    "identified": "KeyError",
    "misplaced": "KeyError",
    "long": "Exception",
    "public": "Exception",
    "approved": "NotApproved",
    "inherited": "NotApproved",
    "noted": "ValueError",
    "caused": "RuntimeError",
    "group": "ExceptionGroup",
    "opened": "FileNotFoundError",
    "spelt": "OSError",
    "executed": "ValueError",
    "filed": "ValueError",
    "odd": "Exception",
    "staged": "ValueError",
}


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "mine.py"
    path.write_text(OWN)
    return load(path)


def raised(call) -> StageFailed:
    with pytest.raises(StageFailed) as failed, stage("training"):
        call()
    return failed.value


@pytest.mark.parametrize("name", KINDS)
def test_stage_type_and_line_leave_and_no_text(own, name):
    failure = failure_of(raised(getattr(own, name)), share=False)
    assert failure.kind == KINDS[name]
    line = next(i for i, text in enumerate(OWN.splitlines(), 1) if text.startswith(f"def {name}("))
    lines = range(1, 99) if name == "staged" else range(line, line + 5)
    assert failure.text in [f"mine.py, line {at} ({KEPT})" for at in lines]
    for text in (*ROW.split(","), "short", "above", "nowhere", "Male54"):
        assert text not in str(failure)


@pytest.mark.parametrize("name", KINDS)
def test_the_devices_log_and_a_simulation_have_the_text(own, name):
    failure = failure_of(raised(getattr(own, name)), share=True)
    assert "\n" not in str(failure) and len(failure.kind) <= 80
    told = {"unprintable": "no message", "noted": "short", "caused": "see above", "library": "cannot be interpreted"}
    assert told.get(name, ROW) in failure.text or name == "library"


def test_a_stage_that_a_coordinator_named_is_one_line_that_is_not_long():
    with pytest.raises(StageFailed) as failed, stage("train.\x1b]0;x\n" * 5000):
        raise ValueError
    assert len(failed.value.stage) <= 100 and failed.value.stage.isprintable()


def test_an_error_of_hansa_that_is_public_leaves_with_its_text_where_hansa_raised_it():
    failed = raised(lambda: settle(MemoryStates(), "run", "riga", (4, 0)))
    assert failure_of(failed, share=False).text == str(failed)
    assert "client 'riga' was counted in round 4" in str(failed)


def classes(folder: str) -> Iterator[tuple[str, ast.ClassDef]]:
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                yield f"{folder}.{path.stem}.{node.name}", node


def says(node: ast.ClassDef) -> bool | None:
    """What a class says of itself; None where it leaves it to its bases."""
    for part in node.body:
        targets = [part.target] if isinstance(part, ast.AnnAssign) else getattr(part, "targets", [])
        value = getattr(getattr(part, "value", None), "value", None)
        if "public" in [getattr(target, "id", None) for target in targets] and isinstance(value, bool):
            return value
    return None


def test_which_errors_are_public_and_nothing_inherits_it():
    folders = ("strategies", "fedtasks", "fedlink", "fedclient", "fedserver", "simulations", "conf")
    found = {name: node for folder in folders for name, node in classes(folder)}
    public = {name for name, node in found.items() if says(node)}
    assert public == {
        "conf.errors.NotTaken",
        "fedclient.errors.BeyondLimits",
        "fedclient.errors.NoExamples",
        "fedclient.errors.NotApproved",
        "fedclient.errors.StateLost",
        "fedlink.errors.RequestRefused",
    }
    shown = {name.rpartition(".")[2] for name in public}
    below = {name for name, node in found.items() if shown & {getattr(base, "id", "") for base in node.bases}}
    assert below == {"fedclient.errors.StateUnreadable"} and says(found[below.pop()]) is False


def test_what_a_device_cannot_do_is_told_in_the_systems_words_without_a_path():
    full = OSError(errno.ENOSPC, "No space left on device", "/home/riga/spool/patient-54")
    assert reason(full) == "OSError: No space left on device"
    assert reason(OSError("patient-54")) == f"OSError: {KEPT}"
    assert reason(ValueError("patient-54")) == f"ValueError: {KEPT}"
    with pytest.raises(NotApproved) as refused:
        raise NotApproved("patient-54")  # not Hansa's own code
    assert "patient-54" not in reason(refused.value)


def test_an_error_whose_type_cannot_be_looked_at_leaves_as_an_exception():
    class Meta(type):
        def __getattribute__(cls, name):
            raise RuntimeError(ROW)

    failed = StageFailed("training", Meta("Bad", (Exception,), {})(ROW))
    assert failed.outside == ("Exception", KEPT) and failed.kind == "Exception"
