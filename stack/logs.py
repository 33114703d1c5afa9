"""Logs: one line per record on stderr, with fields; as text for people or JSON for collectors.

A failed attempt is one line, not a traceback: an outage makes thousands of attempts. Tracebacks come at level DEBUG.
Neither passwords nor payloads are logged: of a failure only its code, its first line and where it happened.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from datetime import UTC, datetime
from typing import Literal

from temporalio.exceptions import CancelledError

from domain.timestamps import timestamp

Format = Literal["text", "json"]

FIELDS = ("saga", "workflow", "step", "shard", "attempt", "code")
"""The fields that a record may have beside its message, given by `extra=`."""

CHATTY = ("alembic", "sqlalchemy", "asyncio")
CAUSE_CHARS_MAX = 300


class LineFormatter(logging.Formatter):
    """One line per record, whatever the record holds."""

    def __init__(self, form: Format, tracebacks: bool) -> None:
        super().__init__()
        self._form = form
        self._tracebacks = tracebacks

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": timestamp(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname,
            "logger": record.name,
            "message": _first_line(record.getMessage()),
            **{name: getattr(record, name) for name in FIELDS if getattr(record, name, None) is not None},
        }
        if record.exc_info and record.exc_info[1] is not None:
            fields["cause"] = _cause(record.exc_info[1])
            if self._tracebacks:
                fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str) if self._form == "json" else _text(fields)


def configure(level: int, form: Format = "text") -> None:
    """Sends every log of this process to stderr. The last call counts."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(form, tracebacks=level <= logging.DEBUG))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in CHATTY:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    activities = logging.getLogger("temporalio.activity")
    activities.filters[:] = [lambda record: not _is_logged_by_the_step(record)]


def _is_logged_by_the_step(record: logging.LogRecord) -> bool:
    """The step has already logged its failure, with its saga and shard; the library logs it again without them."""
    error = record.exc_info[1] if record.exc_info else None
    return getattr(error, "logged", False) or isinstance(error, asyncio.CancelledError | CancelledError)


def _text(fields: dict[str, object]) -> str:
    head = f"{fields.pop('time')} {fields.pop('level')} {fields.pop('logger')}: {fields.pop('message')}"
    trace = fields.pop("traceback", None)
    tail = "".join(f" {name}={_quoted(value)}" for name, value in fields.items())
    return head + tail + (f"\n{trace}" if trace else "")


def _quoted(value: object) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if not text or any(c in text for c in ' "=') else text


def _cause(error: BaseException) -> str:
    return f"{type(error).__name__}: {_first_line(str(error))}"


def _first_line(text: str) -> str:
    return next(iter(text.splitlines()), "")[:CAUSE_CHARS_MAX]
