"""Comments on products: always taken, by any shard that answers, and brought home to the shard of the SKU.

A comment's id is its author's, so that it counts once however often it is sent and wherever it was taken. A thread is
in the order of (time, id): a union by id needs no merge. The time is the author's, later than all that the session was
shown, so that an answer never comes before what it answers.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from domain.argument_types import check_type
from domain.content import hash_of_content
from domain.errors import InvalidInput
from domain.identifiers import check_identifier
from domain.text import is_control

TEXT_CHARS_MAX = 2000
# How far a comment's time may be ahead of the clock of the shard that takes it: it would stay at the end of its thread.
AHEAD_SECONDS_MAX = 60


@dataclass(frozen=True, slots=True)
class Comment:
    comment_id: str
    sku: str
    customer_id: str
    text: str
    at: datetime

    @property
    def content_hash(self) -> str:
        """Without the time: the same comment sent again is the same, whenever that is."""
        return hash_of_content({"sku": self.sku, "customer_id": self.customer_id, "text": self.text})


def check_comment(comment: Comment) -> Comment:
    """The comment unchanged, or `InvalidInput` naming the field."""
    check_identifier(comment.comment_id, "id")
    check_identifier(comment.sku, "sku")
    check_identifier(comment.customer_id, "customer")
    check_comment_text(comment.text)
    return comment


def check_comment_text(text: str) -> str:
    """Lines are allowed, characters that act on their surroundings are not."""
    check_type(text, str, "text")
    if not 1 <= len(text) <= TEXT_CHARS_MAX or not text.strip():
        raise InvalidInput("text", f"text: expected 1 to {TEXT_CHARS_MAX} characters, got {len(text)}")
    for character in text:
        if is_control(character) and character != "\n":
            name = unicodedata.name(character, ascii(character))
            raise InvalidInput("text", f"text: expected no control characters, got {name}")
    return text


def check_not_ahead(at: datetime, clock: datetime) -> None:
    """`clock` is that of the shard which takes the comment."""
    if at > clock + timedelta(seconds=AHEAD_SECONDS_MAX):
        raise InvalidInput(
            "at", f"at: expected at most {AHEAD_SECONDS_MAX} s ahead of the shard's clock: is this machine's right?"
        )


def microseconds_of(at: datetime) -> int:
    return round((at - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1))


def time_after(shown: int, now: float) -> datetime:
    """`now`, in seconds since 1970, or a moment after `shown`, the newest time that the session was shown, in
    microseconds."""
    micros = max(round(now * 1_000_000), shown + 1)
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
