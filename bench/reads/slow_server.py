"""A server as it looks when it is slow: in front of a replica, and holds back what it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

BYTES_MAX = 65_536


@asynccontextmanager
async def slowed(host: str, port: int, seconds: float) -> AsyncIterator[int]:
    """The port of a server that passes on to that one what it gets, each piece `seconds` late. Ends with the block."""
    passing: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(host, port)
        for work in (_pass_on(reader, to_server, seconds), _pass_on(from_server, writer, 0.0)):
            task = asyncio.create_task(work)
            passing.add(task)
            task.add_done_callback(passing.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in passing:
            task.cancel()
        await asyncio.gather(*passing, return_exceptions=True)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    with suppress(ConnectionError):
        try:
            while piece := await reader.read(BYTES_MAX):
                await asyncio.sleep(seconds)
                writer.write(piece)
                await writer.drain()
        finally:
            writer.close()
