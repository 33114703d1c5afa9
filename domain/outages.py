"""Why Temporal does not answer, in words for a person."""

from __future__ import annotations

import re

from domain.text import first_line

WHY_CHARS_MAX = 200

# Words of the transport's message, in lower case, and what they mean. The first match counts.
_TRANSPORT = (
    (("connection refused", "connectionrefused"), "nothing listens on its address"),
    (("dns error", "failed to lookup"), "its host is not known"),
    (("timeout expired", "timed out", "deadline"), "no answer in time"),
    (("certificate", "unknownissuer"), "its certificate was refused"),
    (("transport", "tcp connect", "connection reset", "broken pipe", "connection error", "h2 "), "no connection to it"),
)
_STATUS = re.compile(r'\bmessage: "([^"]+)"')


def why_unreachable(message: str) -> str:
    """The client's message about a failed call, for a person: the transport's own words are of no use to most."""
    for words, reason in _TRANSPORT:
        if any(each in message.lower() for each in words):
            return reason
    status = _STATUS.search(message)
    return first_line(status[1] if status else message)[:WHY_CHARS_MAX]
