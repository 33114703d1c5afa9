"""Translates the TLS settings of an address (`domain.tls`) into arguments of the driver."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.engine import make_url

from domain.tls import VERIFYING


@dataclass(frozen=True)
class DriverArguments:
    """`dsn` for SQLAlchemy, and the further arguments of the driver's `connect`."""

    dsn: str = field(repr=False)
    arguments: dict[str, Any]


def driver_arguments(dsn: str) -> DriverArguments:
    """Raises OSError if the file of the certificate authorities cannot be read or holds no certificates."""
    url = make_url(dsn).set(drivername="postgresql+asyncpg")
    query = dict(url.query)
    mode, authorities = query.pop("ssl", None), query.pop("sslrootcert", None)
    plain = url.set(query=query).render_as_string(hide_password=False)
    if mode is None:
        return DriverArguments(plain, {})
    if mode not in VERIFYING:
        return DriverArguments(plain, {"ssl": mode})
    context = ssl.create_default_context(cafile=str(authorities) if authorities else None)
    context.check_hostname = mode == "verify-full"
    return DriverArguments(plain, {"ssl": context})
