"""TLS 1.3 and nothing older, in gRPC, which has no option for it."""

from __future__ import annotations

import os

CIPHERS = "ECDHE-PSK-CHACHA20-POLY1305"
"""A cipher of TLS 1.2 that no certificate can serve, and none of 1.3: what is left of 1.2 shakes hands with nobody."""


def only_tls_1_3() -> None:
    """Shut out TLS 1.2 in this process; to be called before anything of gRPC's is made, which reads it once.

    Handshakes that fail are not logged by gRPC either: a device says itself why it is not connected, in one line.
    """
    os.environ.setdefault("GRPC_SSL_CIPHER_SUITES", CIPHERS)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
