"""The link's protocol, without I/O: ``Desk`` and ``Session`` for the coordinator, ``Client`` for a client.

The shells around them move bytes, keep bodies on disk, check hashes and tell the time. ``effects`` lists what the
machines ask of them; ``wire.write_chunk`` makes the frames of bodies.
"""

from hansa.fedlink.protocol.backoff import pause
from hansa.fedlink.protocol.client import Client
from hansa.fedlink.protocol.desk import Desk
from hansa.fedlink.protocol.limits import LARGEST_FRAME, Limits
from hansa.fedlink.protocol.requests import Answer, Kept, Work
from hansa.fedlink.protocol.session import Session
from hansa.fedlink.protocol.tasks import Held
from hansa.fedlink.protocol.versions import VERSIONS

__all__ = [
    "LARGEST_FRAME",
    "VERSIONS",
    "Answer",
    "Client",
    "Desk",
    "Held",
    "Kept",
    "Limits",
    "Session",
    "Work",
    "pause",
]
