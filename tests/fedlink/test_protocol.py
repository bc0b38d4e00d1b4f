"""One request, one client, no trouble: the whole flow of the link's protocol."""

from __future__ import annotations

import hashlib
import subprocess
import sys

from hansa.fedlink.protocol import Answer, Client, Desk, Work, effects
from hansa.fedlink.protocol.wire import write_chunk

MODEL, ROW = bytes(range(256)) * 700, b"row" * 9


def sha(data):
    return hashlib.sha256(data).digest()


def frames(done):
    return [e.frame.SerializeToString() for e in done if isinstance(e, effects.Send)]


def test_a_request_goes_down_and_its_answer_comes_up():
    desk, client = Desk(software="hansa"), Client(software="hansa")
    session, _ = desk.connect("riga", 0, 1e9)
    desk.submit("riga", Work(request_id="r1", head=b"train", size=len(MODEL), sha256=sha(MODEL)))

    (hello,) = frames(client.start(0, 1e9))
    welcome, work = frames(session.receive(hello, 0))
    assert isinstance(client.receive(welcome, 0)[0], effects.Welcomed)
    begin, want = client.receive(work, 0)
    assert begin == effects.StartBody(request_id="r1", size=len(MODEL), sha256=sha(MODEL))
    (body,) = session.receive(*frames([want]), 0)
    assert body == effects.SendBody(session=1, request_id="r1", offset=0, chunk=2**20)
    stored, complete = client.receive(write_chunk("r1", 0, MODEL), 0)
    assert stored.data == MODEL
    assert complete == effects.BodyComplete(request_id="r1", size=len(MODEL), sha256=sha(MODEL))

    have, run = client.downloaded("r1")
    assert session.receive(*frames([have]), 0) == [effects.Delivered(name="riga", request_id="r1")]
    assert run.head == b"train"
    (offer,) = frames(client.answered("r1", Answer(head=b"ok", size=len(ROW), sha256=sha(ROW))))
    _, send = session.receive(offer, 0)
    assert client.receive(*frames([send]), 0) == [effects.UploadFrom(request_id="r1", offset=0, chunk=2**20)]
    stored, complete = session.receive(write_chunk("r1", 0, ROW), 0)
    assert stored.data == ROW and isinstance(complete, effects.Completed)
    (answered,) = desk.accepted("r1")
    assert (answered.name, answered.head, answered.size) == ("riga", b"ok", len(ROW))
    (done,) = frames(desk.finish("r1"))
    assert client.receive(done, 0) == [effects.Forget(request_id="r1")]
    assert desk.finish("r1") == [] and client.holds() == ()


def test_the_protocol_loads_nothing_that_does_io_and_nothing_heavy():
    code = (
        "import sys; import google.protobuf.message, hansa.fedlink.link_pb2; before = set(sys.modules); "
        "import hansa.fedlink.protocol; print(*set(sys.modules) - before)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "hansa.fedlink.protocol.desk" in loaded
    never = "numpy torch flwr hydra grpc ssl socket asyncio threading random time subprocess"
    assert not {name.split(".")[0] for name in loaded} & set(never.split())
