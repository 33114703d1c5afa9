"""The file in which a shell keeps its session, so that its next command sees what this one wrote and was shown."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.terminal.output import output
from domain.errors import InvalidInput, SessionLost
from domain.session_tokens import CHARS_MAX
from shardwise import Session


@contextmanager
def kept_session(file: Path) -> Iterator[Session]:
    """The session that the file holds, or a new one; raised in the file when the block ends, however it ends.

    Commands may use one file at once: each adds what it was told, under a lock. The token is one line, written at once;
    a kill leaves the file as it was or as it should be. `InvalidInput` naming `session` if it is not usable.
    """
    descriptor = _opened(file)
    try:
        session = Session(_token(descriptor, file))
        before = session.token
        try:
            yield session
        except SessionLost as lost:
            lost.message += f" (it is in {file}: remove it)"
            raise
        finally:
            if session.token != before:
                _raise(descriptor, file, session)
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
        Session(token)
    except InvalidInput:
        raise InvalidInput("session", f"session: expected a session in {file}, or an empty or a new file") from None
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    return token


def _raise(descriptor: int, file: Path, session: Session) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        token = _first_line(descriptor)
        if token is not None:
            session.merge(token)
        line = session.token.encode() + b"\n"
        os.pwrite(descriptor, line, 0)
        os.ftruncate(descriptor, len(line))
    except (OSError, InvalidInput) as error:
        # What the command did is done: that is its result, and not this.
        output().progress(f"the session in {file} was not raised, later reads may not see this command: {error}")
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _first_line(descriptor: int) -> str | None:
    """What comes after it is left of a longer token, if a command was killed between its two calls."""
    content = os.pread(descriptor, CHARS_MAX + 1, 0)
    return content.partition(b"\n")[0].decode("ascii", "replace") if content else None
