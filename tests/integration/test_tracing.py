"""`contrast.probes` counts what goes over the wire, and its locks are those that Postgres reports."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from sqlalchemy.engine import make_url

from contrast.probes.row_waits import wait_for_account
from contrast.probes.sent_statements import Trace, commits, locks_held, round_trips
from contrast.probes.vacuum import vacuum_accounts
from domain.money import Money
from domain.transfers import Protocol, ProtocolChoice, Transfer
from domain.two_phase import Participant
from shards.connections.cluster import Cluster
from shards.outbox.horizon import read_horizon
from shards.transfers import two_phase
from stack.settings import Databases
from tests.support.two_phase import nothing_left_prepared
from tests.support.world import TransferByHand, World

CENT = Money(1, "USD")
LOCK_TIMEOUT_MS = 50


class Relay:
    """A proxy between clients and their server that counts round trips: a client sends after the server has sent."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self.round_trips = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(*self._server)
        client_has_the_word = False

        def asked() -> None:
            nonlocal client_has_the_word
            self.round_trips += not client_has_the_word
            client_has_the_word = True

        def answered() -> None:
            nonlocal client_has_the_word
            client_has_the_word = False

        await asyncio.gather(_pass_on(reader, up_writer, asked), _pass_on(up_reader, writer, answered))


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, note: Callable[[], None]) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            note()
            writer.write(data)
            await writer.drain()
    writer.close()


@dataclass(frozen=True, slots=True)
class Wire:
    world: World
    relay: Relay
    trace: Trace


@asynccontextmanager
async def _on_the_wire(databases: Databases) -> AsyncIterator[Wire]:
    url = make_url(databases.catalog)
    relay = Relay(url.host or "", url.port or 0)
    server = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    shards = {
        name: make_url(dsn).set(host="127.0.0.1", port=port).render_as_string(hide_password=False)
        for name, dsn in databases.shards.items()
    }
    try:
        async with (
            Cluster(databases.shards, databases.catalog, databases.read_model, pool_size=2) as beside,
            Cluster(shards, databases.catalog, databases.read_model, pool_size=2) as cluster,
        ):
            # A writer does not wait for notifications, and they use connections of their own: not on this wire.
            for name, shard in cluster.shards.items():
                shard.notifier = beside.shards[name].notifier
            yield Wire(World(cluster), relay, Trace(cluster))
    finally:
        server.close()


@pytest.fixture
async def wire(cluster_dsns: Databases) -> AsyncIterator[Wire]:
    async with _on_the_wire(cluster_dsns) as made:
        yield made


@pytest.fixture
async def accounts(wire: Wire) -> tuple[str, str, str]:
    """Two accounts on one shard, one on another."""
    shards = ("shard-1", "shard-1", "shard-2")
    source, neighbour, far = [await wire.world.customer(shard=shard) for shard in shards]
    return source, neighbour, far


async def carry_out(world: World, transfer: Transfer, protocol: Protocol) -> None:
    by_hand = TransferByHand(world, transfer)
    opened = await by_hand.open(ProtocolChoice(protocol))
    assert opened.protocol is protocol
    if protocol is Protocol.SAGA:
        assert await by_hand.admit() is None
        assert (await by_hand.decide()).is_confirmed
        await by_hand.credit()
    elif protocol is Protocol.TWO_PHASE:
        for participant in Participant:
            assert (await two_phase.prepare(world.router, transfer, participant)).is_yes
        for participant in Participant:
            assert (await two_phase.commit(world.router, transfer, participant)).is_committed


@pytest.mark.parametrize(
    ("protocol", "expected_commits", "locked_on"),
    [
        (Protocol.LOCAL, 1, ["shard-1"]),
        (Protocol.SAGA, 4, ["shard-1", "shard-1", "shard-2"]),
        (Protocol.TWO_PHASE, 5, ["shard-1", "shard-2"]),
    ],
)
async def test_every_round_trip_on_the_wire_is_counted_and_every_lock_is_found(
    wire: Wire, accounts: tuple[str, str, str], protocol: Protocol, expected_commits: int, locked_on: list[str]
) -> None:
    source, neighbour, far = accounts
    target = neighbour if protocol is Protocol.LOCAL else far
    await carry_out(wire.world, Transfer("connects", source, target, CENT), protocol)
    before, on_the_wire = len(wire.trace.sent), wire.relay.round_trips
    await carry_out(wire.world, Transfer("counted", source, target, CENT), protocol)
    sent = wire.trace.sent[before:]
    assert round_trips(sent) == wire.relay.round_trips - on_the_wire
    assert commits(sent) == expected_commits
    assert sorted(held.shard for held in locks_held(sent)) == locked_on


async def test_a_prepared_row_ends_the_wait_for_it_and_holds_the_horizon(
    wire: Wire, accounts: tuple[str, str, str]
) -> None:
    world, (source, neighbour, far) = wire.world, accounts
    database = world.cluster.primaries["shard-1"]
    transfer = Transfer("prepared", source, far, CENT)
    await TransferByHand(world, transfer).open(ProtocolChoice.TWO_PHASE)
    assert (await wait_for_account(world.router, source, LOCK_TIMEOUT_MS)).got_it
    async with nothing_left_prepared(world.cluster):
        assert (await two_phase.prepare(world.router, transfer, Participant.SOURCE)).is_yes
        before = await read_horizon(database)
        waited = await wait_for_account(world.router, source, LOCK_TIMEOUT_MS)
        assert (waited.got_it, waited.seconds * 1000 >= LOCK_TIMEOUT_MS) == (False, True)
        other = await world.customer(shard="shard-1")
        await carry_out(world, Transfer("beside", neighbour, other, CENT), Protocol.LOCAL)
        after, vacuumed = await read_horizon(database), await vacuum_accounts(database)
        assert after.watermark == before.watermark
        assert after.hidden_events > before.hidden_events
        assert (vacuumed.dead_rows_kept or 0) > 0
        assert (vacuumed.cutoff_age or 0) > 0
        assert (await two_phase.commit(world.router, transfer, Participant.SOURCE)).is_committed
        assert (await two_phase.prepare(world.router, transfer, Participant.TARGET)).is_yes
        assert (await two_phase.commit(world.router, transfer, Participant.TARGET)).is_committed
    assert (await read_horizon(database)).watermark > after.watermark
