"""Waiting for a person at the terminal."""

from __future__ import annotations

import asyncio
import sys
import termios
import tty

from cli.terminal.output import Output


def is_interactive(out: Output) -> bool:
    """Whether a person reads what is printed and can answer it by a key."""
    return not out.as_json and out.stdout.is_terminal and sys.stdin is not None and sys.stdin.isatty()


async def wait_for_key() -> None:
    """Returns at any key, at Ctrl-C, or when the terminal is gone. Gives the terminal back as it was."""
    terminal, pressed, loop = sys.stdin.fileno(), asyncio.Event(), asyncio.get_running_loop()
    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)
    loop.add_reader(terminal, pressed.set)
    try:
        await pressed.wait()
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
    finally:
        loop.remove_reader(terminal)
        termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
