"""What can go wrong between coordinator and client.

LinkError
├── MalformedMessage     a message that is not what Hansa sends
└── ProtocolError        the link's protocol
    ├── MalformedFrame   a frame of the link that is none, or makes no sense where it comes
    ├── RequestRefused   a request or an answer that the protocol cannot carry: a limit, or an id used twice
    └── TooManyRequests  a client has as many open requests as it may have
"""

from __future__ import annotations


class LinkError(Exception):
    """The root: every message says what, where, and the remedy."""


class MalformedMessage(LinkError):
    """A message that is not what Hansa sends; nothing of it was used."""


class ProtocolError(LinkError):
    """The link's protocol."""


class MalformedFrame(ProtocolError):
    """A frame that is none, or makes no sense where it comes; the machines turn it into a Goodbye."""


class RequestRefused(ProtocolError):
    """A request or an answer that the protocol cannot carry; nothing was changed."""


class TooManyRequests(ProtocolError):
    """A client has as many open requests as it may have; nothing was changed."""
