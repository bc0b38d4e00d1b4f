"""A coordinator and clients on a simulated wire, with disks that outlive their processes; for tests of the protocol.

The wire is first in, first out, and loses whatever is on it when it breaks. Everything that is decided by chance comes
from one seeded generator.
"""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass, field
from random import Random

from hansa.fedlink import link_pb2 as pb
from hansa.fedlink.protocol import Answer, Client, Desk, Held, Kept, Limits, Work, effects
from hansa.fedlink.protocol.wire import write_chunk

LIMITS = Limits(open_requests=3, heartbeat=10)


def sha(data):
    return hashlib.sha256(data).digest() if data else b""


def body_of(request_id, size):
    """The bytes of a request's body, and of its answer: each byte tells where it belongs."""
    return Random(f"{request_id} {size}").randbytes(size)


@dataclass
class Wire:
    """One connection: frames on their way up and down, and whether each side still thinks that it stands."""

    up: deque = field(default_factory=deque)
    down: deque = field(default_factory=deque)
    client_open: bool = True
    server_open: bool = True


@dataclass
class Device:
    """A client's process and its disk. ``bodies`` and ``answers`` are the spool; ``work``, ``checks`` are in memory."""

    name: str
    random: Random
    bodies: dict = field(default_factory=dict)  # id -> [size, sha256, bytearray]
    answers: dict = field(default_factory=dict)  # id -> (Answer, bytes)
    client: Client = None
    wire: Wire = None
    work: dict = field(default_factory=dict)
    checks: list = field(default_factory=list)
    uploads: dict = field(default_factory=dict)
    endings: list = field(default_factory=list)
    ran: int = 0

    def boot(self):
        held = [Held(request_id=i, size=s, sha256=h, stored=len(b)) for i, (s, h, b) in self.bodies.items()]
        done = {i: a for i, (a, _) in self.answers.items()}
        held = [Held(**{**vars(h), "answer": done.pop(h.request_id, None)}) for h in held]
        held += [Held(request_id=i, size=0, sha256=b"", stored=0, answer=a) for i, a in done.items()]
        self.client = Client(software="hansa", held=held, limits=LIMITS)
        self.work, self.checks, self.uploads, self.wire = {}, [], {}, None

    def do(self, done):
        for effect in done:
            match effect:
                case effects.Send():
                    if self.wire:
                        self.wire.up.append(effect.frame.SerializeToString())
                case effects.StartBody():
                    self.bodies[effect.request_id] = [effect.size, effect.sha256, bytearray()]
                case effects.StoreBody():
                    stored = self.bodies[effect.request_id][2]
                    assert len(stored) == effect.offset, "a byte of a body at a wrong place"
                    stored += effect.data
                case effects.BodyComplete():
                    self.checks.append(effect)
                case effects.RunWork():
                    assert effect.request_id not in self.work, "a work was begun twice in one process"
                    self.work[effect.request_id] = effect
                case effects.UploadFrom():
                    self.uploads[effect.request_id] = effect.offset
                case effects.Forget() | effects.CancelWork():
                    for kept in (self.work, self.uploads, self.bodies, self.answers):
                        kept.pop(effect.request_id, None)
                case effects.Ended():
                    self.endings.append(effect)
                    self.uploads, self.wire = {}, None if self.wire is None else self._hung_up()

    def _hung_up(self):
        self.wire.client_open = False

    def check(self):
        """Judge the hash of one complete body."""
        if self.checks:
            effect = self.checks.pop(0)
            kept = self.bodies.get(effect.request_id)
            if kept is not None:
                right = sha(bytes(kept[2])) == effect.sha256
                verdict = self.client.downloaded if right else self.client.damaged
                self.do(verdict(effect.request_id))

    def finish_work(self):
        """Answer one request: the answer goes to disk first."""
        if self.work:
            request_id, effect = self.work.popitem()
            size = int(effect.head)
            data = body_of(f"answer {request_id}", size)
            assert bytes(self.bodies[request_id][2] if effect.size else b"") == body_of(request_id, effect.size)
            answer = Answer(head=request_id.encode(), size=size, sha256=sha(data))
            self.answers[request_id] = (answer, data)
            self.ran += 1
            if self.random.random() < 0.05:
                self.boot()  # killed after the answer was on disk, before anything else knew
            else:
                self.do(self.client.answered(request_id, answer))

    def upload(self):
        """Send one chunk of one answer."""
        if self.uploads and self.wire:
            request_id = self.random.choice(list(self.uploads))
            offset, data = self.uploads[request_id], self.answers[request_id][1]
            end = offset + self.random.randint(1, 40)
            self.wire.up.append(write_chunk(request_id, offset, data[offset:end]))
            self.uploads[request_id] = end
            if end >= len(data):
                del self.uploads[request_id]


@dataclass
class Harbour:
    """The coordinator's process, its disk (partial answers, the log of what is submitted and taken) and its wires."""

    random: Random
    names: tuple
    log: dict = field(default_factory=dict)  # id -> (name, Work): submitted
    ended: dict = field(default_factory=dict)  # id -> "taken", "cancelled" or "failed", for good
    kept: dict = field(default_factory=dict)  # id -> [size, sha256, bytearray]
    desk: Desk = None
    sessions: dict = field(default_factory=dict)
    bodies: dict = field(default_factory=dict)  # (session, id) -> next offset
    checks: list = field(default_factory=list)
    answered: list = field(default_factory=list)
    told: set = field(default_factory=set)
    closings: list = field(default_factory=list)

    def boot(self, now):
        self.desk = Desk(software="hansa", limits=LIMITS, run="run", settings=("task=none",))
        self.sessions, self.bodies, self.checks, self.answered, self.told = {}, {}, [], [], set()
        for request_id, (name, work) in self.log.items():
            if request_id not in self.ended:
                part = self.kept.get(request_id)
                kept = None if part is None else Kept(size=part[0], sha256=part[1], stored=len(part[2]))
                self.do(self.desk.submit(name, Work(**{**vars(work), "kept": kept})))

    def submit(self, name, work):
        self.do(self.desk.submit(name, work))
        self.log[work.request_id] = (name, work)

    def end(self, request_id, how):
        assert self.ended.setdefault(request_id, how) == how, f"{request_id} ended twice"
        self.kept.pop(request_id, None)

    def do(self, done):
        for effect in done:
            match effect:
                case effects.Send():
                    self.sessions[effect.session][1].down.append(effect.frame.SerializeToString())
                case effects.SendBody():
                    self.bodies[effect.session, effect.request_id] = effect.offset
                case effects.StopBody():
                    self.bodies.pop((effect.session, effect.request_id), None)
                case effects.Close():
                    self.closings.append(effect)
                case effects.Dropped():
                    self.sessions.pop(effect.session)[1].server_open = False
                    self.bodies = {key: at for key, at in self.bodies.items() if key[0] != effect.session}
                case effects.Begin():
                    self.kept[effect.request_id] = [effect.size, effect.sha256, bytearray()]
                case effects.Store():
                    stored = self.kept[effect.request_id][2]
                    assert len(stored) == effect.offset, "a byte of an answer at a wrong place"
                    stored += effect.data
                case effects.Completed():
                    self.checks.append(effect)
                case effects.Answered():
                    assert effect.request_id not in self.told, "a request was answered twice"
                    self.told.add(effect.request_id)
                    self.answered.append(effect)
                case effects.Failed():
                    self.end(effect.request_id, "failed")

    def check(self):
        if self.checks:
            effect = self.checks.pop(0)
            right = effect.request_id in self.kept and sha(bytes(self.kept[effect.request_id][2])) == effect.sha256
            self.do((self.desk.accepted if right else self.desk.damaged)(effect.request_id))

    def take(self):
        """Take one answer for good: into the log first, then let the client forget it, or crash in between."""
        if self.answered:
            effect = self.answered.pop(0)
            name, work = self.log[effect.request_id]
            if self.ended.get(effect.request_id) == "cancelled":
                return
            assert effect.name == name and effect.head == effect.request_id.encode()
            assert bytes(self.kept[effect.request_id][2]) == body_of(f"answer {effect.request_id}", int(work.head))
            self.end(effect.request_id, "taken")
            if self.random.random() < 0.9:
                self.do(self.desk.finish(effect.request_id))
            else:
                self.crash = True

    def cancel(self, request_id):
        if request_id not in self.ended:
            self.end(request_id, "cancelled")
            self.do(self.desk.cancel(request_id, "no longer needed"))

    def send_body(self):
        if self.bodies:
            key = self.random.choice(list(self.bodies))
            session, request_id = key
            work, offset = self.log[request_id][1], self.bodies[key]
            end = offset + self.random.randint(1, 40)
            data = body_of(request_id, work.size)[offset:end]
            self.sessions[session][1].down.append(write_chunk(request_id, offset, data))
            self.bodies[key] = end
            if end >= work.size:
                del self.bodies[key]

    crash = False


@dataclass
class World:
    """All of it, and the next thing that happens."""

    seed: int
    trouble: float = 1.0
    now: float = 0.0
    submitted: int = 0

    def __post_init__(self):
        self.random = Random(self.seed)
        self.devices = [Device(name, self.random) for name in ("bergen", "riga")]
        self.harbour = Harbour(self.random, tuple(d.name for d in self.devices))
        self.harbour.boot(self.now)
        self.wires = []
        for device in self.devices:
            device.boot()

    def connect(self, device):
        """Open a connection; the coordinator may still believe in an older one."""
        if device.wire is not None:
            return
        wire = device.wire = Wire()
        self.wires.append((device, wire))
        session, done = self.harbour.desk.connect(device.name, self.now, 1e9 + self.now)
        self.harbour.sessions[session.number] = (session, wire)
        self.harbour.do(done)
        device.do(device.client.start(self.now, 1e9 + self.now))

    def break_wire(self, device):
        """The client notices at once, the coordinator perhaps later."""
        if device.wire is not None:
            wire = device.wire
            if self.random.random() < 0.5:
                wire.up.clear()
            device.do(device.client.closed(self.now))
            if self.random.random() < 0.5:
                self.server_notices(wire)

    def server_notices(self, wire):
        for session, other in list(self.harbour.sessions.values()):
            if other is wire:
                self.harbour.do(session.closed(self.now))

    def deliver(self):
        """One frame of one direction; upwards also from a wire that its client has already left."""
        device = self.random.choice(self.devices)
        if self.random.random() < 0.5:
            for session, wire in list(self.harbour.sessions.values()):
                if session.name == device.name and wire.up:
                    self.harbour.do(session.receive(wire.up.popleft(), self.now))
        elif device.wire is not None and device.wire.down:
            device.do(device.client.receive(device.wire.down.popleft(), self.now))
        elif device.wire is not None and not device.wire.server_open:
            device.do(device.client.closed(self.now))

    def crash_client(self, device):
        """A process is killed; the last bytes of a body may not have reached the disk, or it is rotten."""
        if device.wire is not None and self.random.random() < 0.5:
            self.server_notices(device.wire)
        for _, _, stored in device.bodies.values():
            if stored and self.random.random() < 0.3:
                del stored[self.random.randrange(len(stored)) :]
            if stored and self.random.random() < 0.1:
                stored[self.random.randrange(len(stored))] ^= 1
        device.boot()

    def crash_server(self):
        harbour = self.harbour
        harbour.crash = False
        for _, wire in harbour.sessions.values():
            wire.server_open = False
            wire.up.clear()
        for request_id, (_, _, stored) in list(harbour.kept.items()):
            if self.random.random() < 0.3:
                del harbour.kept[request_id]
            elif stored and self.random.random() < 0.3:
                del stored[self.random.randrange(len(stored)) :]
            elif stored and self.random.random() < 0.1:
                stored[self.random.randrange(len(stored))] ^= 1
        harbour.boot(self.now)

    def submit(self):
        name = self.random.choice(self.harbour.names)
        if len(self.harbour.desk.open(name)) < LIMITS.open_requests:
            self.submitted += 1
            request_id, size = f"r{self.submitted}", self.random.choice((0, 1, 50, 150))
            head = str(self.random.choice((0, 1, 60, 160))).encode()
            body = body_of(request_id, size)
            self.harbour.submit(name, Work(request_id=request_id, head=head, size=size, sha256=sha(body)))

    def tick(self):
        self.now += self.random.random() * 8
        self.harbour.do(self.harbour.desk.tick(self.now))
        for device in self.devices:
            device.do(device.client.tick(self.now))

    def go_on(self):
        """One step of the work itself."""
        device = self.random.choice(self.devices)
        for step in (device.check, device.finish_work, self.harbour.check, self.harbour.take):
            if self.random.random() < 0.3:
                step()
        for _ in range(4):
            self.random.choice((device.upload, self.harbour.send_body, self.deliver, self.deliver, self.deliver))()
        if self.harbour.crash:
            self.crash_server()

    def step(self):
        """One step of anything, trouble included."""
        device, draw = self.random.choice(self.devices), self.random.random() / self.trouble
        if draw < 0.01:
            self.crash_client(device)
        elif draw < 0.02:
            self.crash_server()
        elif draw < 0.05:
            self.break_wire(device)
        elif draw < 0.06 and self.harbour.log:
            self.harbour.cancel(self.random.choice(list(self.harbour.log)[-4:]))
        elif draw < 0.062 and device.bodies:
            device.do(device.client.refuse(self.random.choice(list(device.bodies)), "no room"))
        elif draw < 0.10:
            self.tick()
        elif self.random.random() < 0.1:
            self.connect(device)
        self.go_on()

    def settle(self):
        """No more trouble: run until everything is over. Returns whether it came to that."""
        for _ in range(5000):
            for device in self.devices:
                self.connect(device)
            self.go_on()
            if self.random.random() < 0.02:
                self.tick()
            if not any(self.harbour.desk.open(name) for name in self.harbour.names):
                if not any(device.client.holds() for device in self.devices):
                    return True
                self.break_wire(self.random.choice(self.devices))
        return False


def protocol_errors(world):
    """Every Goodbye of code PROTOCOL in a world where nobody breaks the protocol."""
    return [e.text for e in world.harbour.closings if e.code == pb.PROTOCOL] + [
        e.text for device in world.devices for e in device.endings if e.code == pb.PROTOCOL
    ]
