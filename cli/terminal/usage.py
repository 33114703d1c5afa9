"""Messages about a wrong command line: what is wrong, and what to type instead."""

from __future__ import annotations

import re
from typing import Any

import typer
from pydantic import ValidationError
from typer.core import TyperCommand

from domain.errors import InvalidInput
from domain.faults import described

# Older versions of typer take these from click, newer ones bring their own: reached in the one way both have.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]

WHAT_CHARS_MAX = 500
_NEGATIVE = re.compile(r"-[0-9.]")
_EXTRA = re.compile(r"Got unexpected extra arguments?(?:\(s\))? \((.*)\)", re.DOTALL)
_BRACED = re.compile(r"\{(\S+)\}")
_CHOICE = re.compile(r"(?P<got>.*) is not one of (?P<choices>'.*')\.?", re.DOTALL)


class TakesNumbers(TyperCommand):
    """A command whose arguments are numbers: `-14.00` is a value, which its own rule refuses, and not an option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        # An unknown option is then reported as one argument too many, which is clear enough.
        ctx.ignore_unknown_options = any(_NEGATIVE.match(each) for each in args)
        return super().parse_args(ctx, args)


def bad_usage(error: Exception) -> InvalidInput:
    """`error`: a `UsageError`. The message has what is wrong, the usage of the command, and how to get its help."""
    context: Any = getattr(error, "ctx", None)
    lines = [_what(error, context)[:WHAT_CHARS_MAX]]
    if context is not None:
        usage = f"usage: {_usage(context)}\nmore: {context.command_path} --help"
        # `send` may be left out, and usually is.
        lines.append(usage.replace(" transfer send ", " transfer "))
    return InvalidInput(_field(error), "\n".join(lines), code="usage")


def _what(error: Exception, context: Any) -> str:
    if type(error).__name__ == "NoArgsIsHelpError" or str(error).startswith("Missing command"):
        return f"missing command, one of {', '.join(context.command.list_commands(context))}"
    wrong = _wrong_value(error)
    if wrong is not None:
        return wrong
    formatted = str(getattr(error, "format_message", lambda: str(error))()).rstrip(".")
    extra = _EXTRA.fullmatch(formatted)
    if extra is not None:
        return f"one argument too many: {extra[1]}"
    what = formatted.replace("'", "") if formatted.startswith("Missing") else formatted
    return what[:1].lower() + what[1:]


def _usage(context: Any) -> str:
    """On one line, with the required options, and arguments named as in the help."""
    must = [
        f"{each.opts[0]} {each.metavar or each.name.upper()}"
        for each in context.command.get_params(context)
        if each.param_type_name == "option" and each.required
    ]
    usage = " ".join(context.get_usage().split()).removeprefix("Usage: ")
    return _BRACED.sub(r"\1", usage).replace("[OPTIONS]", " ".join([*must, "[OPTIONS]"]), 1)


def _wrong_value(error: Exception) -> str | None:
    """A wrong value, worded as our own rules word it; None if the error is about something else."""
    name = _name(error)
    if name is None or not hasattr(error, "message") or not error.message:
        return None
    fault = error.__cause__
    what = described(fault.errors()[0]) if isinstance(fault, ValidationError) else str(error.message).rstrip(".")
    choice = _CHOICE.fullmatch(what)
    if choice is not None:
        what = f"expected one of {choice['choices'].replace(chr(39), '')}, got {choice['got']}"
    return f"{name}: {what}"


def _name(error: Exception) -> str | None:
    """The option as it is typed, or the argument as the usage shows it."""
    parameter: Any = getattr(error, "param", None)
    if parameter is None:
        return None
    is_option = parameter.param_type_name == "option"
    return str(parameter.opts[0] if is_option else parameter.metavar or parameter.name.upper())


def _field(error: Exception) -> str | None:
    name = getattr(getattr(error, "param", None), "name", None)
    return name if isinstance(name, str) else None
