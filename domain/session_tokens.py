"""A session as one piece of text that a caller keeps and gives back: opaque, versioned, url-safe, bounded in size.

    s2.<base64url of: checksum, clock, then for each shard its name and forks, for each fork what was written and seen>

It grows by the shards that the session touched, not by how often. A shard takes 50 to 80 characters where its name is
short and it has had one fork: 50 if only written to, 80 if lists and replicas were read too. An outcome without a stamp
adds up to 35; no shard takes more than 275. A fork that was not carried over yet counts like a shard more, without the
name. A session of three shards has about 240 characters, one of 64 about 5,000; none has more than `CHARS_MAX`.

Tokens are nobody's secret: they say from where on an answer is new enough, never what may be read. The checksum is
against slips of the hand, not against forgers: a caller that makes one up waits for what it demands.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator
from itertools import groupby

from domain.consistency import Point, Session, points_of
from domain.errors import InvalidInput, Refused
from domain.histories import UNKNOWN_FORK
from domain.identifiers import SHARD_NAME_PATTERN, shown

VERSION_PREFIX = "s2."
# Shards with their forks: as many shards as `up` makes, each with the fork before still beside its own.
FORKS_MAX = 128

_CHECKSUM_BYTES = 4
_FORK_BYTES = 16
_NAME_BYTES_MAX = 63
_NUMBERS = len(Point().numbers)
_NUMBER_BYTES_MAX = 10
_POINT_BYTES_MAX = 1 + _NUMBERS * _NUMBER_BYTES_MAX
_BYTES_MAX = (
    _CHECKSUM_BYTES + _NUMBER_BYTES_MAX + FORKS_MAX * (1 + _NAME_BYTES_MAX + 1 + 1 + _FORK_BYTES + 2 * _POINT_BYTES_MAX)
)
CHARS_MAX = len(VERSION_PREFIX) + (_BYTES_MAX * 4 + 2) // 3

_NAME = re.compile(SHARD_NAME_PATTERN, re.ASCII)
_VERSION = re.compile(r"s[0-9]{1,4}\.", re.ASCII)


def session_text(session: Session) -> str:
    """The same for equal sessions. `Refused` as `session_too_large` above `FORKS_MAX`: nothing may be left out."""
    content = _content(session)
    return VERSION_PREFIX + base64.urlsafe_b64encode(_checksum(content) + content).rstrip(b"=").decode()


def parse_session(text: object, field: str = "session") -> Session:
    """What the text was made of; `InvalidInput` for anything that `session_text` did not make."""
    if not isinstance(text, str) or len(text) > CHARS_MAX or not text.startswith(VERSION_PREFIX):
        raise _not_one(text, field)
    try:
        session = _read(text.removeprefix(VERSION_PREFIX))
        made = session_text(session)
    except (ValueError, Refused):
        raise _not_one(text, field) from None
    if made != text:
        raise _not_one(text, field)
    return session


def _not_one(text: object, field: str) -> InvalidInput:
    if isinstance(text, str) and _VERSION.match(text) and not text.startswith(VERSION_PREFIX):
        message = f"{field}: expected a session token of version {VERSION_PREFIX[:-1]}, got one of another version"
        return InvalidInput(field, f"{message}: {shown(text)}")
    return InvalidInput(field, f"{field}: expected a session token that shardwise made, whole, got {shown(text)}")


def _checksum(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_CHECKSUM_BYTES).digest()


def _content(session: Session) -> bytes:
    wrote = {(shard, point.fork): point for shard, point in session.wrote}
    seen = {(shard, point.fork): point for shard, point in session.seen}
    keys = sorted({*wrote, *seen})
    if len(keys) > FORKS_MAX:
        message = f"a session takes {FORKS_MAX} shards with their forks, this one has {len(keys)}: begin a new one"
        raise Refused("session_too_large", message, "session")
    content = _number_written(session.clock)
    for shard, group in groupby(keys, key=lambda key: key[0]):
        if _NAME.fullmatch(shard) is None:
            raise ValueError(f"not a shard's name: {shard!a}")
        forks = list(group)
        content += bytes([len(shard)]) + shard.encode() + bytes([len(forks)])
        for key in forks:
            fork = bytes.fromhex(key[1].replace("-", ""))
            content += bytes([len(fork)]) + fork
            for half in (wrote, seen):
                content += _written(half.get(key, Point()).numbers)
    return bytes(content)


def _written(numbers: tuple[int, ...]) -> bytes:
    """A bit for each number that is not 0, then those numbers, seven bits a byte, the lowest first."""
    content = bytearray([sum(1 << place for place, number in enumerate(numbers) if number)])
    for number in filter(None, numbers):
        content += _number_written(number)
    return bytes(content)


def _number_written(number: int) -> bytearray:
    content = bytearray()
    rest = number
    while rest > 0x7F:
        content.append(rest & 0x7F | 0x80)
        rest >>= 7
    content.append(rest)
    return content


def _read(text: str) -> Session:
    """ValueError for what cannot be read. The checksum is compared with the rest, when it is written again."""
    try:
        whole = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise ValueError("not base64url") from None
    content = whole[_CHECKSUM_BYTES:]
    wrote: list[tuple[str, Point]] = []
    seen: list[tuple[str, Point]] = []
    reader = _Reader(content)
    clock = reader.number()
    while not reader.at_end:
        shard = reader.take(reader.byte()).decode("ascii")
        for _ in range(reader.byte()):
            fork = _fork_id(reader.take(reader.byte()))
            for half in (wrote, seen):
                half.append((shard, Point(fork, *reader.numbers())))
    return Session(points_of(wrote), points_of(seen), clock)


def _fork_id(content: bytes) -> str:
    digits = content.hex()
    if not digits:
        return UNKNOWN_FORK
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


class _Reader:
    """Takes bytes off the front; ValueError at the end."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    @property
    def at_end(self) -> bool:
        return self._at == len(self._content)

    def take(self, count: int) -> bytes:
        taken = self._content[self._at : self._at + count]
        if len(taken) < count:
            raise ValueError("cut off")
        self._at += count
        return taken

    def byte(self) -> int:
        return self.take(1)[0]

    def numbers(self) -> Iterator[int]:
        present = self.byte()
        if present >> _NUMBERS:
            raise ValueError("more numbers than a point has")
        return (self.number() if present >> place & 1 else 0 for place in range(_NUMBERS))

    def number(self) -> int:
        number = 0
        for place in range(_NUMBER_BYTES_MAX):
            byte = self.byte()
            number |= (byte & 0x7F) << 7 * place
            if byte <= 0x7F:
                return number
        raise ValueError("a number that is too long")
