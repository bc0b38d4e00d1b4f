"""What can go wrong between coordinator and client.

LinkError
└── MalformedMessage   a message that is not what Hansa sends
"""

from __future__ import annotations


class LinkError(Exception):
    """The root: every message says what, where, and the remedy."""


class MalformedMessage(LinkError):
    """A message that is not what Hansa sends; nothing of it was used."""
