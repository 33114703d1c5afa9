"""The file in which a shell keeps its session, so that its next command sees what this one wrote and was shown."""

from __future__ import annotations

import codecs
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.terminal.output import output
from domain.errors import InvalidInput, SessionLost, ShardwiseError
from domain.session_tokens import CHARS_MAX, parse_session
from shardwise import Session


@contextmanager
def kept_session(file: Path) -> Iterator[Session]:
    """The session that the file holds, or a new one; raised in the file when the block ends, however it ends.

    Commands may use one file at once: each adds what it was told, under a lock. The token is one line, written at once;
    a kill leaves the file as it was or as it should be. `InvalidInput` naming `session` if it is not usable.
    """
    descriptor = _opened(file)
    try:
        before = _token(descriptor, file)
        session = Session(before)
        try:
            yield session
        except SessionLost as lost:
            lost.message += f" (it is in {file}: remove it)"
            raise
        finally:
            _raise(descriptor, file, session, before)
    finally:
        os.close(descriptor)


def _opened(file: Path) -> int:
    try:
        # Not blocking, or it would wait for somebody to write into a pipe.
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InvalidInput("session", f"session: {file} cannot be opened: {reason}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InvalidInput("session", f"session: expected a file, got {file}")
    return descriptor


def _token(descriptor: int, file: Path) -> str | None:
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        token = _first_line(descriptor)
        if token is not None:
            parse_session(token)
    except InvalidInput as error:
        expected = error.message.removeprefix("session: ")
        raise InvalidInput("session", f"session: {file} holds none, and is not empty: {expected}") from None
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    return token


def _raise(descriptor: int, file: Path, session: Session, before: str | None) -> None:
    """`before`: what the file held when the session was read from it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        now = _first_line(descriptor)
        # Merged only with what others were told meanwhile: the file's old token is in the session already, where its
        # points may have been carried into a newer fork.
        if now is not None and now != before:
            session.merge(now)
        if session.token in (now, Session().token):
            return
        line = session.token.encode() + b"\n"
        os.pwrite(descriptor, line, 0)
        os.ftruncate(descriptor, len(line))
    except (OSError, ShardwiseError) as error:
        # What the command did is done: that is its result, and not this.
        output().progress(f"the session in {file} was not raised, later reads may not see this command: {error}")
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _first_line(descriptor: int) -> str | None:
    """None for an empty file. What comes after the line is left of a longer token, if a command was killed between its
    two calls."""
    content = os.pread(descriptor, CHARS_MAX + 8, 0).removeprefix(codecs.BOM_UTF8)
    if not content.strip():
        return None
    return content.partition(b"\n")[0].removesuffix(b"\r").decode("ascii", "replace")
