"""Standard streams that were closed by whoever started us."""

from __future__ import annotations

import os
import sys

# stdin and stdout are opened in the wrong direction, so that using them fails and is reported, like any stream that
# cannot be used. Only stderr, where it would be reported, swallows everything.
_STREAMS = (("stdin", "r", os.O_WRONLY), ("stdout", "w", os.O_RDONLY), ("stderr", "w", os.O_WRONLY))


def open_closed_streams() -> None:
    """Opens the descriptors 0, 1 and 2 where they are closed. Otherwise the next file or socket would get one of these
    numbers, and messages would be written into it."""
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
