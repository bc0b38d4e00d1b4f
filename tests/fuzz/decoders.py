"""Every decoder of the wire and of files carried by hand: valid samples, how to mutate them, what it raises."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from flwr.app import ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.recorddict_pb2 import RecordDict as ProtoRecordDict
from google.protobuf.message import DecodeError

from hansa.conf import place
from hansa.conf.errors import ConfigError
from hansa.conf.wire import sent, words
from hansa.fedclient.place import Place
from hansa.fedclient.spool import Spool
from hansa.fedlink import link_pb2 as pb
from hansa.fedlink.authority import DAY, new_root
from hansa.fedlink.certificates import key_pem, load_identity, load_key, read_peer
from hansa.fedlink.dial import granted
from hansa.fedlink.door import NAME, Door, TurnedAway
from hansa.fedlink.enrolment import Registrar
from hansa.fedlink.errors import (
    CertificateError,
    EnrolmentRefused,
    FileError,
    InvitationError,
    MalformedMessage,
    RevocationError,
)
from hansa.fedlink.flower import (
    become,
    call_messages,
    from_bytes,
    read_call,
    read_reply,
    read_state,
    read_tree,
    reply_message,
    state_bytes,
    to_bytes,
    write_tree,
)
from hansa.fedlink.folder import Federation, ServerFolder
from hansa.fedlink.incoming import DiskRow
from hansa.fedlink.invitation import (
    TaskFile,
    invite,
    read_invitation,
    read_request_file,
    request_file,
    write_invitation,
)
from hansa.fedlink.messages import Call, Failure, Reply
from hansa.fedlink.packing import pack_call, pack_reply
from hansa.fedlink.packing import read_call as unpack_call
from hansa.fedlink.packing import read_reply as unpack_reply
from hansa.fedlink.protocol import Answer, Client, Desk, Held, Work
from hansa.fedlink.protocol.limits import LONGEST_HEAD
from hansa.fedlink.revocation import RevocationList, revoke
from hansa.fedlink.signing import read_request
from hansa.fedlink.tokens import TokenBook
from tests.fuzz.mutate import Mutate, damaged, odd_der, odd_json, odd_message, odd_words
from tests.identities import NOW, Device, client_side, invited, pem, registrar, server_side

GOLDEN = Path(__file__).parents[1] / "fedlink" / "golden" / "v1"
ROOT = new_root("hanse", NOW)
ISSUER = ROOT.issuing("hanse", NOW)
DEVICE = Device(name="Lübeck")
HOLDER = invited(ISSUER, "Lübeck", NOW)
CALL = Call(
    endpoint="train.update",
    run="r",
    round=3,
    request=1,
    digest="d",
    counted=(2, 0),
    payload={"model": np.arange(6, dtype=np.float32).reshape(2, 3), "c": np.ones(0, np.uint16)},
    fitted=np.array([1.5], np.float32),
    fields=("seed=6b86b273ff34fce1",),
)
ROW = np.arange(6, dtype=np.uint16)
FAILURE = Failure(stage="training", kind="ValueError", text="odd")
REPLIES = (
    Reply.to(CALL, "Lübeck", "d", row=ROW, staged=True),
    Reply.to(
        CALL, "riga", "d", failure=Failure(stage="training", kind="ValueError", text="odd"), differs=("seed", "x")
    ),
)
HASH = bytes(32)


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """``read`` takes bytes of a peer, in a folder of its own, and raises nothing but ``refuses``.

    ``free`` names fields of what it returns that are no text for a person; ``every`` makes a slow one read fewer.
    """

    read: Callable[[bytes, Path], Any]
    samples: Callable[[Path], Sequence[bytes]]
    mutate: Mutate
    refuses: tuple[type[Exception], ...]
    free: frozenset[str] = frozenset()
    every: int = 1


def _golden(side: str) -> Callable[[Path], Sequence[bytes]]:
    return lambda _: [path.read_bytes() for path in sorted(GOLDEN.glob(f"{side}_*.bin"))]


def _session(raw: bytes, _: Path) -> Any:
    """What a coordinator does about one frame, as the first and as a later one of a client that has three requests."""
    done = []
    for greeted in (False, True):
        desk = Desk(software="h", run="r", settings=("task=digits",))
        for request_id in ("run/3/1/riga", "é", "r1"):
            desk.submit("riga", Work(request_id=request_id, size=6, sha256=HASH, answer_limit=2**36))
        session, _effects = desk.connect("riga", 0, 0)
        if greeted:
            session.receive(pb.ClientFrame(hello=pb.Hello(versions=[1])).SerializeToString(), 0)
        done += session.receive(raw, 1)
    return done


def _client(raw: bytes, _: Path) -> Any:
    """What a device does about one frame, as the first and as a later one, while it holds an answer and half a body."""
    done = []
    answer = Answer(head=b"h", size=10, sha256=HASH)
    for welcomed in (False, True):
        held = [Held(request_id="run/3/1/riga", size=10, sha256=HASH, stored=10, answer=answer)]
        held.append(Held(request_id="r1", size=10, sha256=HASH, stored=3))
        client = Client(software="h", held=held)
        client.start(0, 0)
        if welcomed:
            welcome = pb.Welcome(version=1, heartbeat_ms=15000, chunk_bytes=2**16, open_requests=4)
            client.receive(pb.ServerFrame(welcome=welcome).SerializeToString(), 0)
        done += client.receive(raw, 1)
    return done


def _heads(_: Path) -> Sequence[bytes]:
    return [pack_call(CALL)[0]]


def _packed_call(raw: bytes, _: Path) -> Any:
    body = b"".join(pack_call(CALL)[1].pieces(0, 2**20))
    return unpack_call(raw[:LONGEST_HEAD], body if raw[-1:] == b"}" else b"")


def _packed_reply(raw: bytes, _: Path) -> Any:
    body = b"" if b'"row":null' in raw else ROW.tobytes()
    reply = unpack_reply(raw[:LONGEST_HEAD], len(body), lambda dtype, size: DiskRow(io.BytesIO(body), dtype, size))
    return reply if reply.row is None else (reply, reply.row[0 : reply.row.shape[0]])


def _flowers(_: Path) -> Sequence[bytes]:
    """A call and its replies, and messages of an app that is not Hansa's, as Flower writes them."""
    become(7)
    (asked,) = call_messages({7: CALL}, 60)
    content = RecordDict({"c": ConfigRecord({"a": 1, "b": [1.5], "s": "x", "y": b"z", "t": True, "l": ["a", "b"]})})
    content["m"] = MetricRecord({"n": 3, "loss": 0.5, "all": [1, 2]})
    content["a"] = ArrayRecord([np.ones((2, 2), np.float32)])
    other = Message(content, dst_node_id=7, message_type="train", group_id="3")
    replies = [reply_message(reply, asked) for reply in REPLIES]
    return [to_bytes(one) for one in (asked, other, *replies, Message(Error(3, "odd"), reply_to=other))]


def _message(raw: bytes, _: Path) -> Any:
    """What a person is shown of any message; its records are the app's, and are read too."""
    message = from_bytes(raw)
    shown = message.metadata
    told = [shown.message_id, shown.reply_to_message_id, shown.group_id, shown.message_type]
    return [*told, message.error.reason or "" if message.has_error() else str(len(message.content))]


def _flower_call(raw: bytes, _: Path) -> Any:
    return read_call(from_bytes(raw))


def _flower_reply(raw: bytes, _: Path) -> Any:
    return read_reply(from_bytes(raw))


def _states(_: Path) -> Sequence[bytes]:
    state = RecordDict()
    write_tree(state, "r/riga/kept", {"row": ROW, "hansa.tag": np.array((1, 2), np.int64)})
    return [state_bytes(state)]


def _state(raw: bytes, _: Path) -> Any:
    tree = read_tree(read_state(raw), "r/riga/kept")
    return None if tree is None else list(tree.values())


def _lines(_: Path) -> Sequence[bytes]:
    return [b"task=digits task.parts=3 client.lr=0.5", b"task=digits strategy=fedavg rounds=3 seed=1", b""]


def _sent(raw: bytes, _: Path) -> Any:
    line = raw.decode(errors="surrogateescape")
    return [*sent(line), *words(line, "")]


def _composed(raw: bytes, _: Path) -> Any:
    config, choices = place.settings(raw.decode(errors="surrogateescape"), "")
    return sorted(choices), str(len(config))


def _file(name: str, read: Callable[[Path], Any]) -> Callable[[bytes, Path], Any]:
    """Lay the bytes down as a file, and read it."""

    def laid(raw: bytes, folder: Path) -> Any:
        (folder / name).write_bytes(raw)
        return read(folder / name)

    return laid


def _invitations(_: Path) -> Sequence[bytes]:
    own = TaskFile(file="mine.py", class_name="Pumps", text="class Pumps:\n    'ü'\n")
    made = [
        invite(
            ISSUER,
            federation="hanse",
            address="127.0.0.1:8443",
            ca=pem(ROOT),
            client="Lübeck",
            token=b"t" * 32,
            task=task,
            now=NOW,
            seconds=7 * DAY,
        )
        for task in ("heart_disease", own)
    ]
    return [write_invitation(one) for one in made]


def _places(folder: Path) -> Sequence[bytes]:
    home = folder / "made"
    kept = {"file": "/a/mine.py", "class": "Pumps", "sha256": "0" * 64}
    found = []
    for task in ({"name": "digits"}, kept):
        Place(
            home=home, federation="f", address="[::1]:1", client="riga", task=task, settings=["task.data_dir=/d"]
        ).write()
        found.append((home / "place.json").read_bytes())
    return found


def _federations(folder: Path) -> Sequence[bytes]:
    server = ServerFolder(path=folder / "server")
    server.make(ROOT, ISSUER, Federation(name="hanse", address="127.0.0.1:8443", task="digits"), NOW)
    return [(server.path / "federation.json").read_bytes()]


def _books(folder: Path) -> Sequence[bytes]:
    (folder / "book").mkdir()
    signs = registrar(folder / "book", ISSUER, {"Lübeck": "t", "riga": "u"})
    signs.enrol(invited(ISSUER, "Lübeck", NOW), "t", DEVICE.request(), NOW)
    return [(folder / "book" / "tokens.json").read_bytes()]


def _book(path: Path) -> Any:
    entries = TokenBook(path=path).read()
    told = [(name, entry.state(NOW), sorted(entry.all_serials()), entry.identity) for name, entry in entries.items()]
    return told[:5]


def _revocations(folder: Path) -> Sequence[bytes]:
    path = folder / "made.jsonl"
    path.touch()
    revoke(path, [1, 2**150], "Lübeck", NOW)
    return [line + b"\n" for line in path.read_bytes().splitlines()]


def _certificates(_: Path) -> Sequence[bytes]:
    chain = client_side(ISSUER, NOW, "Lübeck").chain
    leaf = x509.load_pem_x509_certificate(chain).public_bytes(Encoding.DER)
    server = server_side(ISSUER, NOW).chain
    return [chain, leaf, leaf, server, x509.load_pem_x509_certificate(server).public_bytes(Encoding.DER), pem(ROOT)]


def _requests(_: Path) -> Sequence[bytes]:
    asked = DEVICE.request()
    der = x509.load_pem_x509_csr(asked).public_bytes(Encoding.DER)
    return [asked, der, der]


def _keys(_: Path) -> Sequence[bytes]:
    return [key_pem(DEVICE.key), key_pem(DEVICE.identity)]


def _key(raw: bytes, _: Path) -> Any:
    try:
        return str(load_key(raw).curve.name)
    except CertificateError:
        return load_identity(raw).public_key().public_bytes_raw()


def _grants(_: Path) -> Sequence[bytes]:
    leaf, root = (x509.load_pem_x509_certificate(one) for one in (client_side(ISSUER, NOW).chain, pem(ROOT)))
    chain, roots = [leaf.public_bytes(Encoding.DER)] * 2, [root.public_bytes(Encoding.DER)]
    return [pb.EnrolReply(chain=chain, roots=roots).SerializeToString()]


def _enrolments(folder: Path) -> Sequence[bytes]:
    (folder / "signer").mkdir()
    registrar(folder / "signer", ISSUER, {"Lübeck": "t"})
    request = x509.load_pem_x509_csr(DEVICE.request()).public_bytes(Encoding.DER)
    return [pb.EnrolRequest(token="t", signing_request=request).SerializeToString()]


def _enrolled(raw: bytes, folder: Path) -> Any:
    """What a registrar does with a request that the holder of an invitation sent; the service drops what is none."""
    try:
        asked = pb.EnrolRequest.FromString(raw)
    except DecodeError:
        return None
    book, revoked = TokenBook(path=folder / "signer" / "tokens.json"), folder / "signer" / "revoked.jsonl"
    signs = Registrar(book=book, revocations=RevocationList(path=revoked), signer=ISSUER)
    return signs.enrol(HOLDER, asked.token, asked.signing_request, NOW)


def _names(_: Path) -> Sequence[bytes]:
    return [b"L%C3%BCbeck", b"riga"]


class Said:
    """A connection without a certificate."""

    def __init__(self, name: str) -> None:
        self.name = name

    def auth_context(self) -> Any:
        return {}

    def invocation_metadata(self) -> Any:
        return ((NAME, self.name),)


def _said(raw: bytes, _: Path) -> Any:
    return Door(revocations=None).admit(Said(raw.decode(errors="replace")), NOW).name


def _spooled(folder: Path) -> Sequence[bytes]:
    return [json.dumps({"id": "run/3/1/riga", "size": 3, "sha256": HASH.hex()}).encode()]


def _spool(raw: bytes, folder: Path) -> Any:
    kept = folder / "spool" / "one"
    kept.mkdir(parents=True, exist_ok=True)
    (kept / "about.json").write_bytes(raw)
    (kept / "body").write_bytes(b"abc")
    held = Spool(root=folder / "spool").held()
    Client(software="h", held=held)
    return held


PEMS = frozenset({"ca", "certificate", "key", "text", "token"})
MESSAGE = odd_message(ProtoMessage)
DECODERS = {
    "client frame": Decoder(read=_session, samples=_golden("client"), mutate=odd_message(pb.ClientFrame), refuses=()),
    "server frame": Decoder(read=_client, samples=_golden("server"), mutate=odd_message(pb.ServerFrame), refuses=()),
    "call": Decoder(read=_packed_call, samples=_heads, mutate=odd_json, refuses=(MalformedMessage,)),
    "reply": Decoder(
        read=_packed_reply,
        samples=lambda _: [pack_reply(reply)[0] for reply in REPLIES],
        mutate=odd_json,
        refuses=(MalformedMessage,),
    ),
    "flower message": Decoder(read=_message, samples=_flowers, mutate=MESSAGE, refuses=(MalformedMessage,)),
    "flower call": Decoder(read=_flower_call, samples=_flowers, mutate=MESSAGE, refuses=(MalformedMessage,)),
    "flower reply": Decoder(read=_flower_reply, samples=_flowers, mutate=MESSAGE, refuses=(MalformedMessage,)),
    "flower state": Decoder(
        read=_state, samples=_states, mutate=odd_message(ProtoRecordDict), refuses=(MalformedMessage,)
    ),
    "settings": Decoder(read=_sent, samples=_lines, mutate=odd_words, refuses=(ConfigError,), every=5),
    "composed settings": Decoder(read=_composed, samples=_lines, mutate=odd_words, refuses=(ConfigError,), every=100),
    "invitation": Decoder(
        read=_file("one.invitation", lambda path: read_invitation(path, NOW)),
        samples=_invitations,
        mutate=odd_json,
        refuses=(InvitationError,),
        free=PEMS,
    ),
    "request file": Decoder(
        read=_file("one.request", read_request_file),
        samples=lambda _: [request_file("Lübeck", DEVICE.request(), federation) for federation in ("hanse", None)],
        mutate=odd_json,
        refuses=(FileError,),
    ),
    "place.json": Decoder(
        read=_file("place.json", lambda path: Place.read(path.parent)),
        samples=_places,
        mutate=odd_json,
        refuses=(FileError, CertificateError),
    ),
    "federation.json": Decoder(
        read=_file("federation.json", lambda path: ServerFolder(path=path.parent).federation()),
        samples=_federations,
        mutate=odd_json,
        refuses=(FileError, CertificateError),
        free=PEMS,
    ),
    "token book": Decoder(
        read=_file("tokens.json", _book), samples=_books, mutate=odd_json, refuses=(FileError, CertificateError)
    ),
    "revocation list": Decoder(
        read=_file("revoked.jsonl", lambda path: RevocationList(path=path).serials()),
        samples=_revocations,
        mutate=odd_json,
        refuses=(RevocationError,),
    ),
    "certificate": Decoder(
        read=lambda raw, _: read_peer(raw), samples=_certificates, mutate=odd_der, refuses=(CertificateError,)
    ),
    "signing request": Decoder(
        read=lambda raw, _: read_request(raw).name, samples=_requests, mutate=odd_der, refuses=(CertificateError,)
    ),
    "key": Decoder(read=_key, samples=_keys, mutate=odd_der, refuses=(CertificateError,)),
    "granted certificate": Decoder(
        read=lambda raw, _: granted(raw),
        samples=_grants,
        mutate=odd_message(pb.EnrolReply),
        refuses=(CertificateError,),
    ),
    "enrolment": Decoder(
        read=_enrolled,
        samples=_enrolments,
        mutate=odd_message(pb.EnrolRequest),
        refuses=(EnrolmentRefused, CertificateError),
    ),
    "said name": Decoder(read=_said, samples=_names, mutate=damaged, refuses=(TurnedAway,)),
    "spool": Decoder(read=_spool, samples=_spooled, mutate=odd_json, refuses=()),
}
