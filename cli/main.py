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

from cli.terminal.json_option import JSON_FLAG, add_json_option
from cli.terminal.output import Output, output, use_output
from cli.terminal.streams import open_closed_streams
from cli.terminal.usage import UsageError, bad_usage
from cli.version import VERSION_FLAG, print_version
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
    open_closed_streams()
    exit_process(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Runs one command, prints the error if there is one, and returns the exit code."""
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
        return _report(error)
    except Exception as error:
        log.debug("unexpected", exc_info=error)
        output().error(ShardwiseError("internal", f"unexpected {type(error).__name__}: {first_line(str(error))}"))
        return INTERNAL


def _report(error: ShardwiseError) -> int:
    log.debug("%s", error.code, exc_info=error)
    output().error(error)
    return error.exit_code


def _interrupted(code: str, message: str, exit_code: int) -> int:
    """A person knows. A program gets its one document, unless it has it already."""
    if output().as_json:
        output().error(ShardwiseError(code, message))
    return exit_code


def _invoke(arguments: list[str]) -> int:
    configure_logging()
    if arguments == [VERSION_FLAG]:
        print_version()
        return 0
    from cli.app import build_app

    try:
        command = get_command(build_app(next(iter(arguments), None)))
        add_json_option(command)
        with _help_through_output() if HELP_FLAG in arguments else contextlib.nullcontext():
            code = command.main(arguments, prog_name="shardwise", standalone_mode=False)
    except UsageError as error:
        raise bad_usage(error) from None
    except typer.Abort:
        code = INTERRUPTED
    if code == INTERRUPTED:  # Typer reports Ctrl-C in one of two ways.
        raise KeyboardInterrupt
    # `typer.Exit` comes back as its code; so does what a command returns.
    return code if isinstance(code, int) else 0


@contextlib.contextmanager
def _help_through_output() -> Iterator[None]:
    """typer would print the help itself, without reporting a stdout that cannot be written."""
    with contextlib.redirect_stdout(io.StringIO()) as help_text:
        yield
    output().text(help_text.getvalue())


def take_json_flag(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """The arguments without `--json`, and whether it was given: anywhere, except after `--`, where all is a value."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options, values = list(arguments[:end]), list(arguments[end:])
    return [each for each in options if each != JSON_FLAG] + values, JSON_FLAG in options


def configure_logging() -> None:
    """A setting that cannot be read is reported by the first command that reads the settings."""
    level = logging.getLevelNamesMapping().get(os.environ.get("SHARDWISE_LOG_LEVEL", "INFO"), logging.INFO)
    logs.configure(level, "json" if os.environ.get("SHARDWISE_LOG_FORMAT") == "json" else "text")


def exit_process(code: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # The reader is gone.
            stream.flush()
    os._exit(code)
