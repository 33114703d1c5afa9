"""Recognises the driver's errors for a server that does not answer, and describes them for a person."""

from __future__ import annotations

import socket

import asyncpg
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from domain.text import first_line as first_line_of

_GONE = (
    OSError,
    # Called directly, the driver raises it for a connection that was closed underneath it.
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
)
_LOST = (
    ConnectionResetError,
    ConnectionAbortedError,
    BrokenPipeError,
    asyncpg.InterfaceError,
    asyncpg.ConnectionDoesNotExistError,
)


def has_no_tls(error: BaseException) -> bool:
    """Judged by the message: the driver has no error class for a server that refuses TLS."""
    return "rejected SSL upgrade" in str(driver_error(error))


def server_gone(error: BaseException) -> bool:
    if isinstance(error, DBAPIError):
        cause = driver_error(error) if error.orig is not None else None
        if isinstance(cause, asyncpg.InterfaceError) and isinstance(cause, ValueError):
            return False  # The driver could not encode a parameter.
        if error.connection_invalidated or isinstance(error, InterfaceError):
            return True
        return isinstance(cause, _GONE) or (isinstance(error, OperationalError) and cause is None)
    return isinstance(error, _GONE)


def cause(error: BaseException, place: str) -> str:
    """For a person; the driver's own message goes to the log."""
    original = driver_error(error) or error
    if isinstance(original, TimeoutError):
        return "no answer in time"
    if isinstance(original, socket.gaierror):
        return f"the host of {place} is not known"
    # For a name with several addresses asyncio raises one error for all of them, without an errno.
    if isinstance(original, ConnectionRefusedError) or "Connect call failed" in str(original):
        return f"nothing listens on {place}"
    if isinstance(original, _LOST) or "connection_lost" in str(original):
        return "the connection was lost"
    reason = original.strerror if isinstance(original, OSError) else None
    return (reason or first_line(original))[:200]


def driver_error(error: BaseException) -> BaseException | None:
    """asyncpg's own error. While connecting, SQLAlchemy 2.0 lets it through; otherwise it wraps it twice."""
    if isinstance(error, DBAPIError):
        return error.orig.__cause__ if error.orig is not None else None
    return error


def first_line(error: BaseException) -> str:
    return first_line_of(str(error)) or type(error).__name__
