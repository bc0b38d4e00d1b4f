"""The process that does a device's work, and the only one that imports torch: ``python -m hansa.fedclient.worker``.

It reads orders, a line of JSON each, from standard input, and answers each with a line on what was standard output.
From then on that goes to standard error, for a task may print. An order names the folder of a request (see
``fedclient.spool``), the run's settings and the device's own; the answer is laid down there. The line only repeats the
order's number and says what went wrong: ``failure`` in the work, ``broken`` where there is no answer to lay down. Line
0, without an order, says that the worker is ready.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import queue
import shlex
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from hansa.conf import place
from hansa.conf.components import load
from hansa.conf.digest import digest, learning_settings
from hansa.fedclient.approval import check
from hansa.fedclient.confine import check_size, confine, named, no_core
from hansa.fedclient.errors import NotApproved, StageFailed, stage
from hansa.fedclient.greeting import failure_of, greeting
from hansa.fedclient.outside import reason
from hansa.fedclient.shelf import shelf_of
from hansa.fedclient.spool import lay
from hansa.fedclient.state import DiskStates
from hansa.fedlink.memory import keep_all
from hansa.fedlink.messages import Call, Reply
from hansa.fedlink.packing import FLOWER, Body, pack_reply, read_call
from hansa.fedlink.texts import one_line

Order: TypeAlias = Mapping[str, Any]
"""folder, run and fields (the run's words), place and node (the device's words), client, state (a folder), task (the
approved), key (the device's secret randomness), limits (the owner's), number."""
Buffer: TypeAlias = mmap.mmap | bytes
AT_ONCE = 2**20


def main() -> None:
    """Carry out orders until standard input ends."""
    keep_all()
    no_core()
    told = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    orders: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    answer = {"number": 0, "failure": "", "broken": ""}
    while True:
        print(json.dumps(answer), file=told, flush=True)
        answer = _answered(json.loads(orders.get()))


def _listen(orders: queue.SimpleQueue[str]) -> None:
    """Read orders. Where there will be no more, end at once, in mid-work too: the agent is gone; another may come."""
    for line in sys.stdin:
        orders.put(line)
    os._exit(0)


def _answered(order: Order) -> dict[str, Any]:
    """Carry out an order. An error that nothing foresaw is logged here; what of it may leave the device is told."""
    failure = broken = ""
    try:
        confine(order["limits"])
        failure = one_line(carry_out(order))
    except Exception as error:  # noqa: BLE001 - another order may go well
        traceback.print_exc()
        broken = reason(error)
    return {"number": order["number"], "failure": failure, "broken": broken}


def carry_out(order: Order) -> str:
    """Answer one request; whatever goes wrong in the work becomes an answer that says so, and is returned."""
    folder = Path(order["folder"])
    with (folder / "body").open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        body = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
        head = (folder / "head").read_bytes()
        if head == FLOWER:
            return _flowers(folder, body, order)
        answer, told = _hansas(head, body, order)
    _write(folder, *answer)
    return told


def _flowers(folder: Path, body: Buffer, order: Order) -> str:
    from hansa.fedclient.flower_node import answer  # Flower is imported where a run is Flower's only

    raw, failure = answer(bytes(body), order, load)
    _write(folder, FLOWER, Body((np.frombuffer(raw, np.uint8),)))
    return failure


def _hansas(head: bytes, body: Buffer, order: Order) -> tuple[tuple[bytes, Body], str]:
    call, limits = replace(read_call(head, memoryview(body)), fields=order.get("fields", ())), order["limits"]
    try:
        with named(limits), stage("answering"):
            reply = _answer(call, order)
            head, packed = pack_reply(reply)
            check_size(limits, packed.size)
            return (head, packed), str(reply.failure or "")
    except StageFailed as error:
        share = limits.get("share_errors", False)
        reply = Reply.to(call, order["client"], call.digest, failure=failure_of(error, share))
        return pack_reply(reply), str(failure_of(error, share=True))


def _answer(call: Call, order: Order) -> Reply:
    with stage("approval"):
        check(order["task"])
    with stage("configuration"):
        words = shlex.join(order["run"]), shlex.join(order["place"])
        config, choices = place.settings(*words)
        if (name := order["task"].get("name")) not in (None, choices["task"]):
            raise NotApproved(
                f"the run is of task {choices['task']}, and {name} was approved here: join with an invitation to it"
            )
        settings = learning_settings(config)
        if (greeted := greeting(call, order["client"], settings, digest(settings))) is not None:
            return greeted
        from hansa.conf import bounds  # torch, which no greeting needs

        run = place.run(*words)
        bounds.check(order["limits"], run)
        bounds.check_work(order["limits"], run, call)
        site = run.site(_states(order, call.run), bytes.fromhex(order["key"]))
    return site.work_on(call, order["client"])


def _states(order: Order, run: str) -> DiskStates:
    """Return where states are kept, after what is too old was swept."""
    shelf = shelf_of(order)
    shelf.sweep(run, time.time())
    return DiskStates(shelf.root, shelf=shelf)


def _write(folder: Path, head: bytes, body: Body) -> None:
    """Lay an answer down; it is complete once its head is there, and that of an earlier try is none."""
    (folder / "reply.head").unlink(missing_ok=True)
    sha256 = hashlib.sha256()
    with (folder / "reply.body").open("wb") as file:
        for piece in body.pieces(0, AT_ONCE):
            file.write(piece)
            sha256.update(piece)
    lay(folder / "reply.head", sha256.digest() + head)


if __name__ == "__main__":
    main()
