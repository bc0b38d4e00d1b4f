"""What can go wrong between coordinator and client.

LinkError
├── MalformedMessage      a message that is not what Hansa sends
├── ProtocolError         the link's protocol
│   ├── MalformedFrame    a frame of the link that is none, or makes no sense where it comes
│   ├── RequestRefused    a request or an answer that the protocol cannot carry: a limit, or an id used twice
│   └── TooManyRequests   a client has as many open requests as it may have
├── CertificateError      a name, key, certificate or signing request that cannot be used
├── EnrolmentRefused      a device that gets no certificate
├── NotWanted             a device that the coordinator lets in no more, or that another has taken the place of
├── Unreachable           a coordinator to which there is no line
├── PortTaken             an address at which the coordinator cannot listen
└── FileError             a file that cannot be read or written, or does not hold what it should
    ├── InvitationError   an invitation that is broken, altered or over
    └── RevocationError   a revocation list that cannot be read: nobody is let in
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

    public = True


class TooManyRequests(ProtocolError):
    """A client has as many open requests as it may have; nothing was changed."""


class CertificateError(LinkError):
    """A name, key, certificate or signing request that cannot be used."""


class EnrolmentRefused(LinkError):
    """A device that gets no certificate; nothing was signed."""


class NotWanted(LinkError):
    """A device that the coordinator lets in no more, or whose name another process has: to come back is of no use."""

    exit_code = 3


class Unreachable(LinkError):
    """A coordinator to which there is no line; the text says why. Try again."""


class PortTaken(LinkError):
    """An address at which the coordinator cannot listen."""


class FileError(LinkError):
    """A file that cannot be read or written, or does not hold what it should."""


class InvitationError(FileError):
    """An invitation that is broken, altered or over."""


class RevocationError(FileError):
    """A revocation list that cannot be read: nobody is let in."""
