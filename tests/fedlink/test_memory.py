"""Memory that a process keeps: told to glibc where there is one, and nothing elsewhere."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from types import SimpleNamespace

from hansa.fedlink import memory

ZEROED = """
import ctypes, resource, sys
from hansa.fedlink import memory
getattr(memory, sys.argv[1])()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
for again in range(20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    at = libc.malloc(int(sys.argv[2]))
    ctypes.memset(at, 1, int(sys.argv[2]))
    libc.free(at)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how, size):
    done = subprocess.run([sys.executable, "-c", ZEROED, how, str(size)], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_what_is_kept_is_not_cleared_again():
    assert faults("keep_chunks", 2**20) < 10
    assert faults("keep_all", 2**26) < 10
    assert faults("keep_chunks", 2**26) > 1000, "what is large is given back"


def test_another_c_library_is_left_alone(monkeypatch):
    told = []
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(mallopt=lambda *option: told.append(option)))
    monkeypatch.setattr(sys, "platform", "darwin")
    memory.keep_all()
    assert told == [], "its mallopt, if it has one, is another"
    monkeypatch.setattr(sys, "platform", "linux")
    memory.keep_all()
    assert len(told) == 2
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace())
    memory.keep_all()
    assert len(told) == 2, "musl has none"
