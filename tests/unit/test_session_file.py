"""The file of a shell's session: what it keeps, and what it forgets."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.terminal.output import Output, use_output
from cli.terminal.session_file import kept_session
from domain.consistency import Point, Session, points_of
from domain.errors import InvalidInput, SessionLost
from domain.histories import Fork, Lineage
from domain.session_tokens import FORKS_MAX, parse_session, session_text
from shards.reading.facts import Stamp
from shardwise import Shardwise
from shardwise.connections import Installation
from stack.settings import Settings
from tests.support.points import FORK_A, FORK_B

AGAIN = Lineage([Fork(FORK_A), Fork(FORK_B, began=1000)])
SHARD = "shard-1"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    use_output(Output())
    return tmp_path / "me.session"


def held(file: Path) -> Session:
    return parse_session(file.read_text().splitlines()[0])


def writes(file: Path, *points: Point, shard: str = SHARD) -> None:
    file.write_text(session_text(Session(wrote=points_of((shard, point) for point in points))) + "\n")


def test_what_was_carried_into_a_new_fork_is_not_kept_in_the_old_one(file: Path) -> None:
    writes(file, Point(FORK_A, 900), Point("", unstamped=7))
    with kept_session(file) as session:
        session.held.saw_primary(SHARD, session.held.session, Stamp(Point(FORK_B, 1200), AGAIN))
    [(_, wrote)] = list(held(file).wrote)
    assert (wrote.fork, wrote.lsn, wrote.is_unknown) == (FORK_B, 1200, False)


def test_what_another_command_was_told_meanwhile_is_kept(file: Path) -> None:
    writes(file, Point(FORK_A, 900))
    with kept_session(file) as session:
        with kept_session(file) as other:
            other.held.wrote("shard-2", other.held.session, Stamp(Point(FORK_B, 5), Lineage([Fork(FORK_B)])))
        session.held.wrote(SHARD, session.held.session, Stamp(Point(FORK_A, 950), Lineage([Fork(FORK_A)])))
    assert {(shard, point.lsn) for shard, point in held(file).wrote} == {(SHARD, 950), ("shard-2", 5)}


def test_a_session_that_is_full_keeps_no_outcome_from_being_told(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    use_output(Output())
    full = points_of((f"shard-{n}", Point(FORK_A, 1)) for n in range(FORKS_MAX))
    file.write_text(session_text(Session(wrote=full)) + "\n")
    before = file.read_bytes()
    with kept_session(file) as session:
        session.held.wrote("one-more", session.held.session, Stamp(Point(FORK_A, 5), Lineage([Fork(FORK_A)])))
    assert file.read_bytes() == before
    assert "was not raised" in capsys.readouterr().err


def test_a_lost_session_says_where_it_is(file: Path) -> None:
    writes(file, Point(FORK_A, 5000))
    with pytest.raises(SessionLost) as lost, kept_session(file) as session:
        session.held.session.carried(SHARD, AGAIN)
    assert str(file) in lost.value.message


@pytest.mark.parametrize("content", [b"", b"\n", b" \r\n"])
def test_an_empty_file_is_a_new_session(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with kept_session(file) as session:
        assert session.held.session == Session()
    assert file.read_bytes() == content


def test_a_file_that_an_editor_has_saved_is_one_all_the_same(file: Path) -> None:
    token = session_text(Session(wrote=points_of([(SHARD, Point(FORK_A, 5))])))
    file.write_bytes(b"\xef\xbb\xbf" + token.encode() + b"\r\n")
    with kept_session(file) as session:
        assert session.token == token


@pytest.mark.parametrize(("content", "why"), [("s9.AAAA\n", "of another version"), ("hello", "a session token")])
def test_what_is_none_is_left_alone_and_said(file: Path, content: str, why: str) -> None:
    file.write_text(content)
    with pytest.raises(InvalidInput, match=why) as refused, kept_session(file):
        pass
    assert refused.value.field == "session"
    assert file.read_text() == content


@pytest.mark.parametrize("given", ["s1.x", None, Session()])
def test_the_api_takes_only_a_session(tmp_path: Path, given: object) -> None:
    app = Shardwise(Installation(Settings(data_dir=tmp_path)))
    with pytest.raises(InvalidInput, match="session: expected") as refused:
        app.within(given)  # type: ignore[arg-type]
    assert refused.value.field == "session"
