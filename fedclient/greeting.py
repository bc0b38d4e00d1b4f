"""What a place answers without any work, or where it failed; a hello needs neither torch nor data."""

from __future__ import annotations

from hansa.fedclient.errors import StageFailed
from hansa.fedlink.messages import HELLO, Call, Failure, Reply, Settings, differing


def failure_of(error: StageFailed, share: bool) -> Failure:
    """Tell what went wrong: all of it where errors are shared, else what may leave a device."""
    kind, text = (error.kind, str(error)) if share else error.outside
    return Failure(stage=error.stage, kind=kind, text=text)


def greeting(call: Call, client: str, settings: Settings, digest: str) -> Reply | None:
    """Answer a hello, or a call under another configuration; None stands for a call that wants work."""
    if call.digest != digest:
        failure = Failure(stage="configuration", kind="DigestDiffers", text="this client is configured differently")
        return Reply.to(call, client, digest, failure=failure, differs=differing(settings, call.fields))
    return Reply.to(call, client, digest) if call.endpoint == HELLO else None
