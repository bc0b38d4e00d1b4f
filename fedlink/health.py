"""gRPC's own health service, imported behind ``grpc13``."""

from __future__ import annotations

from hansa.fedlink.grpc13 import grpc

from grpc_health.v1 import health, health_pb2, health_pb2_grpc  # isort: skip - it imports gRPC


async def serve_health(server: grpc.aio.Server, service: str) -> None:
    """Answer that a service is there."""
    healthy = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    await healthy.set(service, health_pb2.HealthCheckResponse.SERVING)
