"""The command `shardwise`: from arguments to an exit code."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from typing import NoReturn

import typer
from typer.main import get_command

from cli.terminal.json_option import JSON_FLAG, tell_json
from cli.terminal.output import Output, output, use_output
from cli.terminal.streams import provide_streams
from cli.terminal.usage import UsageError, bad_usage
from cli.version import VERSION_FLAG, tell_version
from domain.errors import ShardwiseError
from domain.text import first_line
from stack import logs

HELP_FLAG = "--help"
INTERRUPTED = 130
TERMINATED = 143
INTERNAL = 1

log = logging.getLogger("shardwise.cli")


def main() -> NoReturn:
    """Leaves through `os._exit`: threads of the Temporal client can crash an ordinary interpreter exit."""
    provide_streams()
    leave(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command and say what went wrong, if anything; the exit code."""
    arguments, as_json = take_json_flag(arguments)
    use_output(Output(as_json))
    try:
        return _invoke(arguments)
    except KeyboardInterrupt:
        return _interrupted("interrupted", "interrupted by Ctrl-C", INTERRUPTED)
    except asyncio.CancelledError:
        return _interrupted("terminated", "ended by SIGTERM", TERMINATED)
    except (BrokenPipeError, SystemExit):
        return 0  # The reader of our output left, as `head` does; rich makes a SystemExit of it.
    except ShardwiseError as error:
        return _told(error)
    except Exception as error:
        log.debug("unexpected", exc_info=error)
        output().error(ShardwiseError("internal", f"unexpected {type(error).__name__}: {first_line(str(error))}"))
        return INTERNAL


def _told(error: ShardwiseError) -> int:
    log.debug("%s", error.code, exc_info=error)
    output().error(error)
    return error.exit_code


def _interrupted(code: str, message: str, exit_code: int) -> int:
    """A person knows; a program gets its one document, unless it has it."""
    if output().as_json:
        output().error(ShardwiseError(code, message))
    return exit_code


def _invoke(arguments: list[str]) -> int:
    configure_logging()
    if arguments == [VERSION_FLAG]:
        tell_version()
        return 0
    from cli.app import build_app

    try:
        command = get_command(build_app(next(iter(arguments), None)))
        tell_json(command)
        with _help_told_by_us() if HELP_FLAG in arguments else contextlib.nullcontext():
            code = command.main(arguments, prog_name="shardwise", standalone_mode=False)
    except UsageError as error:
        raise bad_usage(error) from None
    except typer.Abort:
        code = INTERRUPTED
    if code == INTERRUPTED:  # typer's word for Ctrl-C, in one of two forms.
        raise KeyboardInterrupt
    # `typer.Exit` comes back as its code; so does what a command returns.
    return code if isinstance(code, int) else 0


@contextlib.contextmanager
def _help_told_by_us() -> Iterator[None]:
    """typer would print it past our rule for a stdout that takes nothing."""
    with contextlib.redirect_stdout(io.StringIO()) as told:
        yield
    output().text(told.getvalue())


def take_json_flag(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """The flag counts anywhere on the line, except after `--`, where everything is a value."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options, values = list(arguments[:end]), list(arguments[end:])
    return [each for each in options if each != JSON_FLAG] + values, JSON_FLAG in options


def configure_logging() -> None:
    """A setting that cannot be read is told by the first command that reads the settings."""
    level = logging.getLevelNamesMapping().get(os.environ.get("SHARDWISE_LOG_LEVEL", "INFO"), logging.INFO)
    logs.configure(level, "json" if os.environ.get("SHARDWISE_LOG_FORMAT") == "json" else "text")


def leave(code: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # The reader is gone; there is nobody left to tell.
            stream.flush()
    os._exit(code)
