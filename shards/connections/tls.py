"""TLS to Postgres as an address asks for it (`domain.tls`), in the driver's terms."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.engine import make_url

from domain.tls import VERIFYING


@dataclass(frozen=True)
class Connecting:
    """`dsn` for SQLAlchemy, and what the driver is given beside it."""

    dsn: str = field(repr=False)
    arguments: dict[str, Any]


def connecting(dsn: str) -> Connecting:
    """Raises OSError where the authorities' file cannot be read, or is none."""
    url = make_url(dsn).set(drivername="postgresql+asyncpg")
    query = dict(url.query)
    mode, authorities = query.pop("ssl", None), query.pop("sslrootcert", None)
    plain = url.set(query=query).render_as_string(hide_password=False)
    if mode is None:
        return Connecting(plain, {})
    if mode not in VERIFYING:
        return Connecting(plain, {"ssl": mode})
    context = ssl.create_default_context(cafile=str(authorities) if authorities else None)
    context.check_hostname = mode == "verify-full"
    return Connecting(plain, {"ssl": context})
