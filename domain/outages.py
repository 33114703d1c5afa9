"""Why Temporal does not answer, in words for a person."""

from __future__ import annotations

import re

from domain.text import first_line

WHY_CHARS_MAX = 200

# What the transport says, in small letters, and what it means. The first that fits.
_TRANSPORT = (
    (("connection refused", "connectionrefused"), "nothing listens on its address"),
    (("dns error", "failed to lookup"), "its host is not known"),
    (("timeout expired", "timed out", "deadline"), "no answer in time"),
    (("certificate", "unknownissuer"), "its certificate was refused"),
    (("transport", "tcp connect", "connection reset", "broken pipe", "connection error", "h2 "), "no connection to it"),
)
_STATUS = re.compile(r'\bmessage: "([^"]+)"')


def why_unreachable(told: str) -> str:
    """What the client tells of a call that failed, for a person: its transport's own words say nothing to most."""
    for words, reason in _TRANSPORT:
        if any(each in told.lower() for each in words):
            return reason
    status = _STATUS.search(told)
    return first_line(status[1] if status else told)[:WHY_CHARS_MAX]
