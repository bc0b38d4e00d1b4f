"""The process that does a device's work, and the only one that imports torch: ``python -m hansa.fedclient.worker``.

It reads orders, a line of JSON each, from standard input, and answers each with a line on what was standard output.
From then on that goes to standard error, for a task may print. An order names the folder of a request (see
``fedclient.spool``), the run's settings and the device's own; the answer is laid down there.
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
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from hansa.conf import place
from hansa.conf.bounds import check as check_run
from hansa.conf.components import load
from hansa.conf.digest import digest, learning_settings
from hansa.fedclient.approval import check
from hansa.fedclient.errors import NotApproved, StageFailed, stage
from hansa.fedclient.greeting import failure_of, greeting
from hansa.fedclient.spool import lay
from hansa.fedclient.state import DiskStates
from hansa.fedlink.memory import keep_all
from hansa.fedlink.messages import Call, Reply
from hansa.fedlink.packing import FLOWER, Body, pack_reply, read_call
from hansa.fedlink.texts import one_line

Order: TypeAlias = Mapping[str, Any]
"""folder, run and fields (the run's words), place and node (the device's words), client, state (a folder), task (the
approved), key (the device's secret randomness), limits (the owner's)."""
Buffer: TypeAlias = mmap.mmap | bytes
AT_ONCE = 2**20


def main() -> None:
    """Carry out orders until standard input ends."""
    keep_all()
    told = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    orders: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    while True:
        failure = one_line(carry_out(json.loads(orders.get())))
        print(json.dumps({"failure": failure}), file=told, flush=True)


def _listen(orders: queue.SimpleQueue[str]) -> None:
    """Read orders. Where there will be no more, end at once, in mid-work too: the agent is gone; another may come."""
    for line in sys.stdin:
        orders.put(line)
    os._exit(0)


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
    call = replace(read_call(head, memoryview(body)), fields=order.get("fields", ()))
    try:
        with stage("answering"):
            reply = _answer(call, order)
            return pack_reply(reply), str(reply.failure or "")
    except StageFailed as error:
        share = order.get("limits", {}).get("share_errors", False)
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
        run = place.run(*words)
        check_run(order.get("limits", {}), run)
        site = run.site(DiskStates(Path(order["state"])), bytes.fromhex(order["key"]))
    return site.work_on(call, order["client"])


def _write(folder: Path, head: bytes, body: Body) -> None:
    """Lay an answer down; it is complete once its head is there."""
    sha256 = hashlib.sha256()
    with (folder / "reply.body").open("wb") as file:
        for piece in body.pieces(0, AT_ONCE):
            file.write(piece)
            sha256.update(piece)
    lay(folder / "reply.head", sha256.digest() + head)


if __name__ == "__main__":
    main()
