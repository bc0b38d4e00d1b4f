"""The calls that a coordinator answers: who asks is looked at before a byte of what is asked is read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from google.protobuf.message import DecodeError

from hansa.fedlink import link_pb2 as pb
from hansa.fedlink.certificates import CLIENT, INVITATION, Peer
from hansa.fedlink.door import TurnedAway, certified
from hansa.fedlink.enrolment import Registrar
from hansa.fedlink.errors import CertificateError, EnrolmentRefused, LinkError
from hansa.fedlink.grpc13 import grpc
from hansa.fedlink.guard import Guard
from hansa.fedlink.health import HEALTH, health
from hansa.fedlink.sockets import address_of

SERVICE = "hansa.link.v1.Link"
MOST = 2**17
"""Bytes of a request to sign."""
AT_ONCE, PATIENCE = 8, 5.0
"""Requests to sign that are read at once, and the seconds that each has to arrive."""
Call: TypeAlias = Callable[[Any, str], Awaitable[None]]
"""What answers a call, by its context and the address of its line."""


class Calls(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers calls by their methods' names, and counts those of each line, also where there is no such method.

    All are streams, as far as the server goes: on the wire a plain call is a stream of one message each way, and only a
    stream is read when it is asked to.
    """

    def __init__(self, guard: Guard, calls: Mapping[str, Call]) -> None:
        self._guard, self._calls = guard, calls

    def service(self, details: Any) -> Any:
        call = self._calls.get(details.method, _unknown)

        async def guarded(_: object, context: Any) -> None:
            address = address_of(context.peer())
            try:
                if not self._guard.begin(address):
                    await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many calls on one connection.")
                await call(context, address)
            finally:
                self._guard.end(address)

        return grpc.stream_stream_rpc_method_handler(guarded)


@dataclass(kw_only=True, eq=False)
class Signing:
    """Gives devices their certificates. ``roots`` is what devices trust, in PEM; ``wall`` gives seconds since 1970."""

    registrar: Registrar | None
    roots: bytes
    guard: Guard
    wall: Callable[[], float]
    _few: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    _asking: set[str] = field(default_factory=set)

    def calls(self) -> dict[str, Call]:
        """Return what is answered, by method."""
        return {f"/{SERVICE}/Enrol": self.enrol, f"/{SERVICE}/Renew": self.renew, HEALTH: health(SERVICE)}

    async def enrol(self, context: Any, address: str) -> None:
        """Give a device its first certificate."""

        def grant(registrar: Registrar, peer: Peer, asked: Any) -> bytes:
            return registrar.enrol(peer, asked.token, asked.signing_request, self.wall())

        await self._sign(context, address, INVITATION, pb.EnrolRequest, grant)

    async def renew(self, context: Any, address: str) -> None:
        """Give a client its next certificate."""

        def grant(registrar: Registrar, peer: Peer, asked: Any) -> bytes:
            return registrar.renew(peer, asked.signing_request, self.wall())

        await self._sign(context, address, CLIENT, pb.RenewRequest, grant)

    async def _sign(
        self, context: Any, address: str, role: str, kind: Any, grant: Callable[[Registrar, Peer, Any], bytes]
    ) -> None:
        """Let the registrar answer in a thread of its own, for it waits for files; a refusal becomes a status."""
        try:
            registrar, peer = self._admitted(context, address, role)
            asked = await self._asked(context, peer.name, kind)
            chain = await asyncio.to_thread(grant, registrar, peer, asked)
        except (TurnedAway, EnrolmentRefused) as refused:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, str(refused))
        except CertificateError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except LinkError as error:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"the coordinator cannot sign now: {error}")
        else:
            await context.write(pb.EnrolReply(chain=_ders(chain), roots=_ders(self.roots)).SerializeToString())

    def _admitted(self, context: Any, address: str, role: str) -> tuple[Registrar, Peer]:
        if self.registrar is None:
            raise EnrolmentRefused("this coordinator is insecure and signs nothing: connect without a certificate.")
        peer = certified(context)
        self.registrar.check_peer(peer, role, self.wall())
        if not self.guard.admit(address, peer.name, role):
            raise EnrolmentRefused(f"{peer.name!r} asks too often: try again in a minute.")
        return self.registrar, peer

    async def _asked(self, context: Any, client: str, kind: Any) -> Any:
        """Read what is asked; one request of a client and few of all are waited for."""
        if client in self._asking:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "another request of this client is open.")
        self._asking.add(client)
        try:
            async with self._few:
                raw = await asyncio.wait_for(context.read(), PATIENCE)
            if raw is grpc.aio.EOF or len(raw) > MOST:
                raise DecodeError
            return kind.FromString(raw)
        except TimeoutError:
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "the request did not come in time.")
        except DecodeError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the request is not Hansa's: install the same hansa.")
        finally:
            self._asking.discard(client)


async def _unknown(context: Any, _: str) -> None:
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "the coordinator has no such method: install the same hansa.")


def _ders(pem: bytes) -> list[bytes]:
    return [certificate.public_bytes(Encoding.DER) for certificate in x509.load_pem_x509_certificates(pem)]
