"""TLS 1.3 and nothing older, in gRPC, which has no option for it, and reads its environment while it is imported."""

from __future__ import annotations

import os

CIPHERS = "ECDHE-PSK-CHACHA20-POLY1305"
"""A cipher of TLS 1.2 that no certificate can serve, and none of 1.3: what is left of 1.2 shakes hands with nobody."""


def only_tls_1_3() -> None:
    """Shut out TLS 1.2 in this process, before gRPC is imported.

    Nor does gRPC log handshakes that fail, or stand still where a process is started: none of ours uses it between fork
    and exec.
    """
    os.environ.setdefault("GRPC_SSL_CIPHER_SUITES", CIPHERS)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
