"""A TLS-terminating proxy in front of a Postgres server, whose programs here were built without TLS."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

from sqlalchemy.engine import make_url

# Made once, for a hundred years: `localhost.pem` by `authority.pem`, whose key was thrown away.
CERTIFICATES = Path(__file__).parent.parent / "data" / "tls"
AUTHORITY = CERTIFICATES / "authority.pem"
ANOTHER_AUTHORITY = CERTIFICATES / "another_authority.pem"

# https://www.postgresql.org/docs/current/protocol-message-formats.html, SSLRequest: the length, then the code.
_SSL_REQUEST = (8).to_bytes(4) + (80877103).to_bytes(4)


@contextlib.asynccontextmanager
async def tls_proxy(dsn: str) -> AsyncIterator[int]:
    """Its port on `localhost`, which its certificate names. It refuses connections in clear."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATES / "localhost.pem", CERTIFICATES / "localhost.key")
    url = make_url(dsn)
    asked: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError), contextlib.closing(writer):
            if await reader.readexactly(len(_SSL_REQUEST)) != _SSL_REQUEST:
                return
            writer.write(b"S")
            await writer.start_tls(context)
            server_reader, server_writer = await asyncio.open_connection(url.host, url.port)
            with contextlib.closing(server_writer):
                await asyncio.gather(_pass_on(reader, server_writer), _pass_on(server_reader, writer))

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        asked.add(task)
        task.add_done_callback(asked.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while read := await reader.read(65536):
            writer.write(read)
            await writer.drain()
    finally:
        writer.close()
