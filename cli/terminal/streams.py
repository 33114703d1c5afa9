"""Standard streams that were closed by whoever started us."""

from __future__ import annotations

import os
import sys

# Each opened the other way round, so that using it fails and is told, as with any stream that cannot be used. Only
# stderr, where it would be told, swallows everything.
_STREAMS = (("stdin", "r", os.O_WRONLY), ("stdout", "w", os.O_RDONLY), ("stderr", "w", os.O_WRONLY))


def provide_streams() -> None:
    """Has the descriptors 0, 1 and 2 open. Otherwise the next file or socket would get one of these numbers, and what
    is meant for a person would be written into it."""
    for number, (name, mode, flags) in enumerate(_STREAMS):
        if _is_open(number):
            continue
        opened = os.open(os.devnull, flags)  # The lowest free number, which is this one: those below are open.
        os.set_inheritable(opened, True)
        setattr(sys, name, os.fdopen(opened, mode, closefd=False))


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
