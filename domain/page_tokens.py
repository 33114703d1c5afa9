"""Where a page of a list ended, as text that a caller passes back to get the next page."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime, timedelta
from typing import Annotated, Generic, TypeVar

from pydantic import AfterValidator, AwareDatetime, Field, TypeAdapter, ValidationError

from domain.errors import InvalidInput
from domain.identifiers import check_identifier, shown

Key = TypeVar("Key")

# Longer than any that was made: a time and an id of a hundred characters.
CHARS_MAX = 500


def _identifier(text: str) -> str:
    try:
        return check_identifier(text, "id")
    except InvalidInput as error:
        raise ValueError(error.message) from None


def _in_utc(moment: datetime) -> datetime:
    if moment.utcoffset() != timedelta(0):
        raise ValueError("expected a time in UTC")
    return moment


KeyId = Annotated[str, AfterValidator(_identifier)]
KeyTime = Annotated[AwareDatetime, AfterValidator(_in_utc)]
KeyNumber = Annotated[int, Field(ge=0, lt=2**63)]


class PageToken(Generic[Key]):
    """The tokens of one kind of list. Url-safe, and the same for the same key.

    They are not secret: a token says where to go on, not what may be read.
    """

    def __init__(self, listing: str, key: TypeAdapter[Key]) -> None:
        """`listing` names the list; others refuse its tokens. `key` is built of `KeyId`, `KeyTime` and `KeyNumber`."""
        self._prefix = listing.encode() + b":"
        self._key = key

    def text(self, key: Key) -> str:
        return base64.urlsafe_b64encode(self._prefix + self._key.dump_json(key)).rstrip(b"=").decode()

    def key(self, token: str, field: str = "after") -> Key:
        """The key that the token was made from; `InvalidInput` for anything that `text` did not make."""
        key = self._read(token) if isinstance(token, str) else None
        if key is None or self.text(key) != token:
            message = f"{field}: expected the `next` of the page before, got {shown(token)}"
            raise InvalidInput(field, message)
        return key

    def _read(self, token: str) -> Key | None:
        if not token.isascii() or len(token) > CHARS_MAX:
            return None
        try:
            content = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
            if not content.startswith(self._prefix):
                return None
            return self._key.validate_json(content.removeprefix(self._prefix), strict=True)
        except (binascii.Error, ValidationError):
            return None
