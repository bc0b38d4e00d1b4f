"""gRPC, imported so that it speaks TLS 1.3 only: whoever needs ``grpc`` for the link takes it from here."""

from __future__ import annotations

from hansa.fedlink.tls import only_tls_1_3

only_tls_1_3()

import grpc  # noqa: E402 - it reads its environment while it is imported

__all__ = ["grpc"]
