"""What a place answers before it has done any work; a hello needs neither torch nor data."""

from __future__ import annotations

from hansa.fedlink.messages import HELLO, Call, Failure, Reply, Settings


def greeting(call: Call, client: str, settings: Settings, digest: str) -> Reply | None:
    """Answer a hello, or a call under another configuration; None stands for a call that wants work."""
    if call.digest != digest:
        failure = Failure(stage="configuration", kind="DigestDiffers", text="this client is configured differently")
        return Reply.to(call, client, digest, failure=failure, settings=settings)
    return Reply.to(call, client, digest) if call.endpoint == HELLO else None
