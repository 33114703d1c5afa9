"""The command `shardwise`: from arguments to an exit code."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import typer
from typer.main import get_command

from cli.output import Output, output, use_output
from cli.streams import provide_streams
from cli.told_options import JSON_FLAG, tell_json
from cli.usage import UsageError, bad_usage
from cli.version import VERSION_FLAG, tell_version
from domain.errors import ShardwiseError
from stack import logs

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
        return INTERRUPTED
    except asyncio.CancelledError:
        return TERMINATED
    except (BrokenPipeError, SystemExit):
        return 0  # The reader of our output left, as `head` does; rich makes a SystemExit of it.
    except ShardwiseError as error:
        output().error(error)
        return error.exit_code
    except Exception as error:
        log.debug("unexpected", exc_info=error)
        output().error(ShardwiseError("internal", f"unexpected {type(error).__name__}: {first_line(error)}"))
        return INTERNAL


def _invoke(arguments: list[str]) -> int:
    configure_logging()
    if arguments == [VERSION_FLAG]:
        tell_version()
        return 0
    from cli.app import build_app

    try:
        command = get_command(build_app(next(iter(arguments), None)))
        tell_json(command)
        code = command.main(arguments, prog_name="shardwise", standalone_mode=False)
    except UsageError as error:
        raise bad_usage(error) from None
    except typer.Abort:
        return INTERRUPTED
    # `typer.Exit` comes back as its code; so does what a command returns.
    return code if isinstance(code, int) else 0


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


def first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "")
