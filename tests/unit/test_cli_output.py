"""What a person, a program and a shell get from a command."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import cast

import pytest
import typer
from rich.console import Group
from rich.text import Text

from cli import app, main
from cli.terminal.application import run_async
from cli.terminal.output import COLUMNS_MIN, PIPED_COLUMNS, Output, output, table
from domain.errors import InvalidInput, Refused, ShardwiseError, Unreachable

Command = Callable[[], int | None]


@pytest.fixture
def run_command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run `shardwise try …` where `try` is the given function."""

    class Topic:
        command: Command

        @classmethod
        def register(cls, typer_app: typer.Typer) -> None:
            typer_app.command("try")(cls.command)

    def run(command: Command, *arguments: str) -> int:
        Topic.command = staticmethod(command)
        monkeypatch.setitem(sys.modules, "a_topic", cast(ModuleType, Topic))
        monkeypatch.setattr(app, "MODULES", {"a_topic": ("try",)})
        return main.run(arguments or ("try",))

    return run


def says_hello() -> None:
    output().result({"greeting": "héllo [b]"}, "héllo [b]")


def test_a_result_is_text_for_a_person(run_command: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(says_hello) == 0
    assert capsys.readouterr() == ("héllo [b]\n", "")


@pytest.mark.parametrize("arguments", [("--json", "try"), ("try", "--json")])
def test_a_result_is_one_document_for_a_program(
    run_command: Callable[..., int], capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    assert run_command(says_hello, *arguments) == 0
    assert json.loads(capsys.readouterr().out) == {"greeting": "héllo [b]"}


@pytest.mark.parametrize(
    ("error", "code"),
    [(Refused("taken", "no"), 1), (InvalidInput("id", "no"), 2), (Unreachable("down", "no"), 3)],
)
def test_an_error_is_a_sentence_and_an_exit_code(
    run_command: Callable[..., int], capsys: pytest.CaptureFixture[str], error: ShardwiseError, code: int
) -> None:
    def fails() -> None:
        raise error

    assert run_command(fails) == code
    assert capsys.readouterr() == ("", "shardwise: no\n")
    assert run_command(fails, "try", "--json") == code
    document = json.loads(capsys.readouterr().out)
    assert document == {"error": {"code": error.code, "message": "no", "field": error.field}}


def test_wrong_usage_is_an_error_like_others(
    run_command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(says_hello, "try", "--nope", "--json") == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "usage"


def test_a_bug_is_reported_in_one_line(run_command: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    def breaks() -> None:
        raise KeyError("first\nsecond")

    assert run_command(breaks, "try", "--json") == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["error"]["code"] == "internal"
    assert "Traceback" not in captured.out + captured.err


def test_a_command_chooses_its_exit_code(run_command: Callable[..., int]) -> None:
    def leaves() -> None:
        raise typer.Exit(3)

    assert run_command(lambda: 3) == 3
    assert run_command(leaves) == 3


def test_an_interrupt_exits_with_130_and_a_closed_pipe_is_no_error(run_command: Callable[..., int]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    def unread() -> None:
        raise BrokenPipeError

    assert run_command(interrupted) == 130
    assert run_command(unread) == 0


@pytest.mark.parametrize(
    ("end", "exit_code", "code"), [(KeyboardInterrupt, 130, "interrupted"), (asyncio.CancelledError, 143, "terminated")]
)
def test_a_program_gets_one_document_of_a_command_that_was_interrupted(
    run_command: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    end: type[BaseException],
    exit_code: int,
    code: str,
) -> None:
    def interrupted() -> None:
        raise end

    def interrupted_behind_its_result() -> None:
        says_hello()
        raise end

    assert run_command(interrupted, "try", "--json") == exit_code
    assert json.loads(capsys.readouterr().out)["error"]["code"] == code
    assert run_command(interrupted) == exit_code
    assert capsys.readouterr() == ("", "")
    assert run_command(interrupted_behind_its_result, "try", "--json") == exit_code
    assert json.loads(capsys.readouterr().out) == {"greeting": "héllo [b]"}


def test_an_error_behind_the_document_is_printed_as_text(
    run_command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    def fails_late() -> None:
        says_hello()
        raise Unreachable("down", "it does not stop")

    assert run_command(fails_late, "try", "--json") == 3
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"greeting": "héllo [b]"}
    assert captured.err == "shardwise: it does not stop\n"


def test_the_flag_is_a_value_after_two_dashes() -> None:
    assert main.take_json_flag(["show", "--", "--json"]) == (["show", "--", "--json"], False)
    assert main.take_json_flag(["show", "x", "--json"]) == (["show", "x"], True)


def test_a_table_keeps_its_columns_if_the_terminal_has_no_known_width(
    run_command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    def shows() -> None:
        output().result({}, table(("part", "where"), [("shard-1", "127.0.0.1:5441/shardwise")]))

    assert run_command(shows) == 0
    assert "127.0.0.1:5441/shardwise" in capsys.readouterr().out


def test_control_characters_are_written_out(
    run_command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    def fails() -> None:
        output().progress("found \x1b]0;title\x07")
        raise InvalidInput("file", "first \u202egnp.exe\nsecond \ud800")

    assert run_command(fails) == 2
    assert capsys.readouterr().err == ("found \\x1b]0;title\\x07\nshardwise: first \\u202egnp.exe\nsecond \\ud800\n")


def test_control_characters_in_a_result_are_written_out_too(
    run_command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    def shows() -> None:
        output().result({}, Group("order \x1b[2J is stuck", Text("by \x9b1m"), table(("a",), [("\x1b]0;title\x07",)])))

    assert run_command(shows) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x9b" not in out
    assert out.startswith("order \\x1b[2J is stuck\nby \\x9b1m\n")
    assert "\\x1b]0;title" in out


@pytest.mark.parametrize(
    ("columns", "width"), [("100", 100), ("", PIPED_COLUMNS), ("0", PIPED_COLUMNS), ("x", PIPED_COLUMNS), ("9", 60)]
)
def test_a_pipe_is_as_wide_as_its_reader_says(columns: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert Output().stdout.width == width
    assert Output().stderr.width == width


def test_a_narrow_terminal_still_shows_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "20")
    assert Output().stdout.width == COLUMNS_MIN


def test_a_live_page_follows_a_terminal_that_is_made_narrower(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    columns = 100
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((columns, 40)))
    stdout = Output().stdout
    assert stdout.width == 100
    columns = 80
    assert (stdout.width, stdout.options.max_width) == (80, 80)
    columns = 20
    assert stdout.width == COLUMNS_MIN


def test_of_several_errors_at_once_the_first_is_reported(run_command: Callable[..., int]) -> None:
    async def fails() -> None:
        raise Unreachable("down", "no")

    async def work() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())
            group.create_task(fails())

    assert run_command(lambda: run_async(work())) == 3
