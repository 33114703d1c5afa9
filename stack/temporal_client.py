"""The connection to Temporal: your own server by Temporal's own variables, else the embedded stack's."""

from __future__ import annotations

import asyncio
import functools
import logging

from temporalio.client import Client, WorkflowExecutionDescription
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.envconfig import ClientConfig, ClientConnectConfig
from temporalio.runtime import LogForwardingConfig, LoggingConfig, Runtime, TelemetryConfig
from temporalio.service import RPCError, RPCStatusCode

from domain.errors import InvalidInput, Unreachable
from domain.identifiers import shown
from domain.outages import why_unreachable
from stack.embedded.record import StackRecord
from stack.settings import Settings

CONNECT_TIMEOUT_SECONDS = 10.0
NAMESPACE = "default"


async def connect(settings: Settings, timeout_seconds: float = CONNECT_TIMEOUT_SECONDS) -> Client:
    """A connected client with pydantic payloads.

    Own servers (`SHARDWISE_SHARDS` set): Temporal's variables and config file decide. Embedded: the data directory's
    record does, and `TEMPORAL_*` is ignored. Raises Unreachable when nothing answers in time, InvalidInput when
    Temporal's configuration cannot be read.
    """
    config = _own_config() if settings.own_servers else _embedded_config(settings)
    return await connect_to(config, timeout_seconds)


async def connect_to(config: ClientConnectConfig, timeout_seconds: float) -> Client:
    address = config.get("target_host", "localhost:7233")
    if "://" in address:
        raise _no_address(address, "expected host:port")
    options: ClientConnectConfig = {"namespace": NAMESPACE, **config, "target_host": address}
    try:
        async with asyncio.timeout(timeout_seconds):
            return await Client.connect(**options, data_converter=pydantic_data_converter, runtime=_runtime())
    except ValueError as error:
        raise _no_address(address, str(error)) from error
    except (RuntimeError, RPCError, TimeoutError, OSError) as error:
        reason = why_unreachable(str(error)) if str(error) else f"no answer within {timeout_seconds:g} s"
        raise Unreachable("temporal_unreachable", f"Temporal at {address} does not answer: {reason}") from error


async def described(client: Client, workflow_id: str) -> WorkflowExecutionDescription | None:
    """The newest run of the workflow. None if Temporal does not know it, or no longer. Raises `RPCError`."""
    try:
        return await client.get_workflow_handle(workflow_id).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise


@functools.cache
def _runtime() -> Runtime:
    """The client's core would write warnings to stdout, where a command's one document belongs: here they become log
    records like all others."""
    logger = logging.getLogger("temporalio.core")
    forwarding = LogForwardingConfig(logger, append_target_to_name=False, prepend_target_on_message=False)
    return Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(LoggingConfig.default.filter, forwarding)))


def _no_address(address: str, reason: str) -> InvalidInput:
    return InvalidInput("TEMPORAL_ADDRESS", f"TEMPORAL_ADDRESS: {reason}, got {shown(address)}")


def _own_config() -> ClientConnectConfig:
    try:
        return ClientConfig.load_client_connect_config()
    except (RuntimeError, ValueError, OSError) as error:
        raise InvalidInput("TEMPORAL_CONFIG_FILE", f"Temporal's configuration: {error}") from error


def _embedded_config(settings: Settings) -> ClientConnectConfig:
    return {"target_host": StackRecord.load(settings.data_dir).temporal_address}
