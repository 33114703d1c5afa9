"""A session as text comes back as it was, is bounded in size, and nothing else is one."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.consistency import NUMBER_MAX, Point, Session, points_of
from domain.errors import InvalidInput, Refused
from domain.session_tokens import CHARS_MAX, FORKS_MAX, VERSION_PREFIX, parse_session, session_text
from tests.support.points import FORK_A, FORK_B, FORK_C, UNHURRIED, sessions

USUAL = Point(FORK_A, lsn=0x16_B374D848, xmax=1_234_567, event=1_234_566, taken=1_234_560)
WIDEST = Point(FORK_A, *[NUMBER_MAX] * 6)


def made_by_hand(content: bytes) -> str:
    checksum = hashlib.blake2b(content, digest_size=4).digest()
    return VERSION_PREFIX + base64.urlsafe_b64encode(checksum + content).rstrip(b"=").decode()


def assert_refused(text: object, field: str = "session") -> InvalidInput:
    with pytest.raises(InvalidInput, match=f"^{field}: expected") as refused:
        parse_session(text, field)
    assert refused.value.field == field
    assert len(refused.value.message) < 200
    return refused.value


def of_shards(count: int, point: Point, name: str = "shard-{}") -> Session:
    points = points_of((name.format(number), point) for number in range(count))
    return Session(points, points)


@UNHURRIED
@given(sessions())
def test_a_session_comes_back_as_it_was(session: Session) -> None:
    text = session_text(session)
    assert parse_session(text) == session
    assert session_text(parse_session(text)) == text
    assert re.fullmatch(r"[A-Za-z0-9._-]+", text)
    assert len(text) <= CHARS_MAX


@UNHURRIED
@given(st.text() | st.binary() | st.integers() | st.none())
def test_what_was_not_made_is_no_session(text: object) -> None:
    assert_refused(text)
    if isinstance(text, str):
        assert_refused(VERSION_PREFIX + text)


@UNHURRIED
@given(st.binary())
def test_a_right_checksum_alone_makes_no_session(content: bytes) -> None:
    text = made_by_hand(content)
    try:
        session = parse_session(text)
    except InvalidInput:
        return
    assert session_text(session) == text


@UNHURRIED
@given(sessions(), st.data())
def test_a_changed_character_is_noticed(session: Session, data: st.DataObject) -> None:
    text = session_text(session)
    at = data.draw(st.integers(0, len(text) - 1))
    changed = text[:at] + data.draw(st.characters().filter(lambda character: character != text[at])) + text[at + 1 :]
    assert_refused(changed)


@UNHURRIED
@given(sessions(), st.data())
def test_a_part_of_one_is_none(session: Session, data: st.DataObject) -> None:
    text = session_text(session)
    assert_refused(text[: data.draw(st.integers(0, len(text) - 1))])
    assert_refused(text + data.draw(st.sampled_from(["A", "=", " ", "\n", text])))


FORK = b"\x10" + bytes.fromhex(FORK_A.replace("-", ""))
ONE = b"\x07shard-1\x01" + FORK + b"\x01\x05" + b"\x00"


@pytest.mark.parametrize(
    "content",
    [
        ONE.replace(b"shard-1", b"shard 1"),
        ONE.replace(b"shard-1", b"sh\xc3\xa4-1"),
        b"\x00\x01" + FORK + b"\x01\x05\x00",
        ONE.replace(FORK, b"\x0f" + FORK[2:]),
        ONE.replace(b"\x01\x05\x00", b"\x00\x00"),
        ONE.replace(b"\x01\x05\x00", b"\x01\x00\x00"),
        ONE.replace(b"\x01\x05\x00", b"\x01\x85\x00\x00"),
        ONE.replace(b"\x01\x05\x00", b"\x41\x05\x05\x00"),
        ONE.replace(b"\x01\x05\x00", b"\x20\x05\x00"),
        ONE.replace(b"\x01\x05\x00", b"\x01" + b"\xff" * 9 + b"\x02\x00"),
        ONE.replace(b"\x01\x05\x00", b"\x01" + b"\xff" * 10 + b"\x01\x00"),
        ONE + ONE,
        ONE.replace(b"shard-1", b"shard-2") + ONE,
        b"\x07shard-1\x00",
        ONE + b"\x00",
        ONE[:-1],
    ],
)
def test_nothing_has_two_texts_and_no_point_is_impossible(content: bytes) -> None:
    wrote = points_of([("shard-1", Point(FORK_A, 5))])
    for clock, number in ((b"\x00", 0), (b"\x07", 7), (b"\x81\x01", 129)):
        assert parse_session(made_by_hand(clock + ONE)) == Session(wrote, clock=number)
        assert_refused(made_by_hand(clock + content))
    assert_refused(made_by_hand(b"\x80\x00" + ONE))


def test_the_field_is_the_one_that_was_asked_for() -> None:
    assert_refused("x", "SHARDWISE_SESSION")


def test_a_token_of_another_version_is_told_as_such() -> None:
    assert "of another version" in assert_refused("s1.AAAA").message


def test_a_text_is_the_same_for_ever() -> None:
    """Callers keep them: another layout is another version."""
    wrote, seen = points_of([("shard-1", Point(FORK_A, 300, event=7))]), points_of([("shard-2", USUAL)])
    session = Session(wrote, seen, clock=1_800_000_000_000_000)
    assert session_text(session) == (
        "s2.aRu504CA4sTyopkDB3NoYXJkLTEBEKqqqqqqqqqqqqqqqqqqqqoFrAIHAAdzaGFyZC0yARCqqqqqqqqqqqqqqqqqqqqqAA_Is"
        "NOb6wKHrUuGrUuArUs"
    )
    assert session_text(Session()) == "s2.CtgxcwA"


def test_a_shard_takes_what_the_docstring_says() -> None:
    per_shard = {
        "wrote": len(session_text(Session(wrote=of_shards(64, USUAL).wrote))) / 64,
        "both": len(session_text(of_shards(64, USUAL))) / 64,
        "unstamped": len(session_text(of_shards(64, Point(*_with_unstamped(USUAL))))) / 64,
    }
    assert 45 <= per_shard["wrote"] <= 60
    assert 60 <= per_shard["both"] <= 80
    assert per_shard["unstamped"] <= 115
    assert len(session_text(of_shards(3, USUAL))) <= 250
    assert len(session_text(of_shards(64, USUAL))) <= 5_200
    widest = [len(session_text(of_shards(count, WIDEST, "x" * 60 + "{:03}"))) for count in (100, 101)]
    assert widest[1] - widest[0] <= 276


def _with_unstamped(point: Point) -> tuple[str, int, int, int, int, int, int]:
    milliseconds = 1_780_000_000_000
    lsn, xmax, event, taken, _, _ = point.numbers
    return point.fork, lsn, xmax, event, taken, milliseconds, milliseconds - 1


def test_no_session_has_more_than_the_bound() -> None:
    assert len(session_text(of_shards(FORKS_MAX, WIDEST, "x" * 60 + "{:03}"))) <= CHARS_MAX
    with pytest.raises(Refused, match="begin a new one") as refused:
        session_text(of_shards(FORKS_MAX + 1, USUAL))
    assert (refused.value.code, refused.value.field) == ("session_too_large", "session")


def test_forks_that_were_not_carried_over_yet_are_kept_apart() -> None:
    points = points_of([("shard-1", Point(fork, 5)) for fork in ("", FORK_A, FORK_B, FORK_C)])
    assert parse_session(session_text(Session(seen=points))).seen == points
