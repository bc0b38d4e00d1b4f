"""The check of gRPC's health protocol, imported behind ``grpc13``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf.message import DecodeError

from hansa.fedlink.grpc13 import grpc

from grpc_health.v1 import health_pb2  # isort: skip - it imports gRPC

HEALTH = "/grpc.health.v1.Health/Check"
PATIENCE = 5.0
"""Seconds for a request to arrive."""


def health(service: str) -> Callable[[Any, str], Awaitable[None]]:
    """Answer that a service is there, and the server itself."""

    async def check(context: Any, _: str) -> None:
        try:
            asked = health_pb2.HealthCheckRequest.FromString(await asyncio.wait_for(context.read(), PATIENCE))
        except (DecodeError, TypeError, TimeoutError):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "this is no health check.")
        if asked.service not in ("", service):
            await context.abort(grpc.StatusCode.NOT_FOUND, "the coordinator has no such service.")
        reply = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)
        await context.write(reply.SerializeToString())

    return check
