"""What can go wrong between coordinator and client.

LinkError
├── MalformedMessage      a message that is not what Hansa sends
├── CertificateError      a name, key, certificate or signing request that cannot be used
├── EnrolmentRefused      a device that gets no certificate
└── FileError             a file that cannot be read or written, or does not hold what it should
    ├── InvitationError   an invitation that is broken, altered or over
    └── RevocationError   a revocation list that cannot be read: nobody is let in
"""

from __future__ import annotations


class LinkError(Exception):
    """The root: every message says what, where, and the remedy."""


class MalformedMessage(LinkError):
    """A message that is not what Hansa sends; nothing of it was used."""


class CertificateError(LinkError):
    """A name, key, certificate or signing request that cannot be used."""


class EnrolmentRefused(LinkError):
    """A device that gets no certificate; nothing was signed."""


class FileError(LinkError):
    """A file that cannot be read or written, or does not hold what it should."""


class InvitationError(FileError):
    """An invitation that is broken, altered or over."""


class RevocationError(FileError):
    """A revocation list that cannot be read: nobody is let in."""
