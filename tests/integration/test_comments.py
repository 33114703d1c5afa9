"""Comments: taken while any shard answers, brought home once, in the order of their times, shown to their author."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from domain.comments import Comment, time_after
from domain.errors import InvalidInput, NotFound, Refused, Unreachable
from shards.comments import taking
from shards.comments.home import hide
from shards.comments.homing import Homing
from shards.comments.taking import Taken, take
from shards.comments.thread import Thread, read_thread
from shards.connections.cluster import Cluster
from shards.routing.router import Router
from tests.support.world import World

_numbers = itertools.count(1)


def comment(sku: str, text: str = "a fine thing", ahead_seconds: float = 0) -> Comment:
    at = datetime.now(UTC) + timedelta(seconds=ahead_seconds)
    return Comment(f"c-{next(_numbers)}-{sku}", sku, "ada", text, at)


async def home_of(world: World, sku: str) -> str:
    return (await world.router.map()).of_sku(sku).shard


@pytest.fixture
async def sku(world: World) -> str:
    return await world.product()


@pytest.fixture
async def away(world: World, sku: str) -> AsyncIterator[Router]:
    """The same shards for somebody who cannot reach the product's one."""
    cluster = world.cluster
    shards = {name: shard.primary._dsn for name, shard in cluster.shards.items()}
    shards[await home_of(world, sku)] = "postgresql://nobody:x@127.0.0.1:1/nothing"
    async with Cluster(shards, cluster.catalog._dsn, cluster.read_model._dsn, pool_size=2) as made:
        router = Router(made)
        router._map = await world.router.map()
        yield router


async def bring_home(world: World) -> int:
    homings = [Homing(shard, world.router) for shard in world.cluster.shards.values()]
    return sum([(await homing.take_next()).events for homing in homings])


async def thread(world: World, sku: str, *takers: str, reads: Router | None = None) -> Thread:
    shards = [world.cluster.shards[name] for name in takers]
    return await read_thread(reads or world.router, shards, sku, limit=100)


async def texts(world: World, sku: str) -> list[str]:
    return [each.text for each in (await thread(world, sku)).comments]


async def events(world: World, comment_id: str) -> list[tuple[object, ...]]:
    return await world.everywhere(
        "SELECT kind, aggregate_version FROM outbox WHERE aggregate = 'comment' AND aggregate_id = :id ORDER BY id",
        id=comment_id,
    )


async def test_its_home_takes_it_if_it_answers(world: World, sku: str) -> None:
    posted = comment(sku)
    assert await take(world.router, posted) == Taken(await home_of(world, sku), True, posted.at)
    assert await events(world, posted.comment_id) == [("CommentPosted", 1)]
    [shown] = (await thread(world, sku)).comments
    assert (shown.comment_id, shown.text, shown.at, shown.on_its_way_from) == (
        posted.comment_id,
        posted.text,
        posted.at,
        None,
    )


async def test_sent_again_it_is_there_once_and_other_content_is_refused(world: World, sku: str) -> None:
    posted = comment(sku)
    first = await take(world.router, posted)
    later = Comment(posted.comment_id, sku, "ada", posted.text, posted.at + timedelta(seconds=9))
    assert await take(world.router, later) == first
    with pytest.raises(Refused, match="other content"):
        await take(world.router, Comment(posted.comment_id, sku, "ada", "something else", posted.at))
    assert await texts(world, sku) == [posted.text]


async def test_another_shard_takes_it_while_its_home_is_away_and_it_comes_home_once(
    world: World, sku: str, away: Router
) -> None:
    home = await home_of(world, sku)
    before, posted = comment(sku, "before"), comment(sku, "meanwhile")
    await take(world.router, before)
    taken = await take(away, posted)
    assert not taken.is_home
    assert taken.shard != home
    assert await take(away, posted) in [Taken(name, False, posted.at) for name in world.cluster.shards if name != home]
    # Its author sees it at once, others when it is home; whoever cannot reach the home is told so.
    both = await thread(world, sku, taken.shard)
    assert [(each.text, each.on_its_way_from) for each in both.comments] == [
        ("before", None),
        ("meanwhile", taken.shard),
    ]
    assert await texts(world, sku) == ["before"]
    left = await thread(world, sku, taken.shard, reads=away)
    assert ([each.text for each in left.comments], left.missing) == (["meanwhile"], (home,))
    with pytest.raises(Unreachable):
        await read_thread(away, (), sku, 10, whole=True)

    await asyncio.gather(bring_home(world), bring_home(world))
    assert await texts(world, sku) == ["before", "meanwhile"]
    assert await events(world, posted.comment_id) == [("CommentPosted", 1)]
    assert await bring_home(world) == 0
    # Where it was taken it stays for a while: a replica of its home may not have it yet.
    both = await thread(world, sku, taken.shard)
    assert [(each.text, each.on_its_way_from) for each in both.comments] == [("before", None), ("meanwhile", None)]


async def test_one_home_that_is_away_holds_up_no_other(world: World, sku: str, away: Router) -> None:
    elsewhere = await world.product("m")
    [other] = world.cluster.shards.keys() - {await home_of(world, sku), await home_of(world, elsewhere)}
    handed = [comment(sku), comment(elsewhere)]
    taker = world.cluster.shards[other]
    for each in handed:
        await taking._hand_off(taker, each)
    homing = Homing(away.cluster.shards[other], away)
    with pytest.raises(Unreachable):
        await homing.take_next()
    assert await texts(world, elsewhere) == [handed[1].text]
    assert await texts(world, sku) == []
    await bring_home(world)
    assert await texts(world, sku) == [handed[0].text]


async def test_no_shard_at_all_takes_none(world: World, sku: str) -> None:
    nowhere = dict.fromkeys(world.cluster.shards, "postgresql://nobody:x@127.0.0.1:1/nothing")
    async with Cluster(nowhere, world.cluster.catalog._dsn, world.cluster.read_model._dsn, pool_size=1) as cluster:
        router = Router(cluster)
        router._map = await world.router.map()
        with pytest.raises(Unreachable, match="no shard takes the comment"):
            await take(router, comment(sku))


async def test_the_catalog_is_not_needed_to_take_one(world: World, sku: str) -> None:
    shards = {name: shard.primary._dsn for name, shard in world.cluster.shards.items()}
    nowhere = "postgresql://nobody:x@127.0.0.1:1/nothing"
    posted = comment(sku)
    async with Cluster(shards, nowhere, nowhere, pool_size=2) as cluster:
        assert not (await take(Router(cluster), posted)).is_home
    await bring_home(world)
    assert await texts(world, sku) == [posted.text]


async def test_a_thread_is_in_the_order_of_its_times_wherever_its_comments_were_taken(
    world: World, sku: str, away: Router
) -> None:
    posted = [comment(sku, str(n), ahead_seconds=n) for n in range(10)]
    for n in (7, 3, 9, 1):
        await take(away, posted[n])
    for n in (8, 0, 5, 2, 6, 4):
        await take(world.router, posted[n])
    await bring_home(world)
    assert await texts(world, sku) == [str(n) for n in range(10)]


async def test_a_time_that_is_far_ahead_is_refused_by_whoever_takes_it(world: World, sku: str, away: Router) -> None:
    for router in (world.router, away):
        with pytest.raises(InvalidInput, match="at: expected at most 60 s ahead") as refused:
            await take(router, comment(sku, ahead_seconds=120))
        assert refused.value.field == "at"
    assert await texts(world, sku) == []


async def test_a_product_that_nobody_sells_has_no_thread(world: World) -> None:
    with pytest.raises(NotFound, match="there is no product"):
        await take(world.router, comment("NOBODY-SELLS-IT"))


async def test_hidden_it_is_left_out_for_ever(world: World, sku: str) -> None:
    posted, other = comment(sku, "rude"), comment(sku, "kind")
    for each in (posted, other):
        await take(world.router, each)

    async def hidden(comment_id: str) -> bool:
        return await world.router.write(lambda m: m.of_sku(sku), lambda tx: hide(tx, sku, comment_id))

    assert [await hidden(posted.comment_id), await hidden(posted.comment_id)] == [True, False]
    assert await texts(world, sku) == ["kind"]
    assert await events(world, posted.comment_id) == [("CommentPosted", 1), ("CommentHidden", 2)]
    with pytest.raises(NotFound, match="has no comment"):
        await hidden("nobody-wrote-it")


def test_a_comment_comes_after_all_that_its_author_was_shown() -> None:
    assert time_after(0, now=100.0) == datetime(1970, 1, 1, 0, 1, 40, tzinfo=UTC)
    assert time_after(100_000_007, now=100.0) == datetime(1970, 1, 1, 0, 1, 40, 8, tzinfo=UTC)
