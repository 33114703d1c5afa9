"""A wrong command line is answered with what is wrong, the usage of that command, and where to read more."""

from __future__ import annotations

import json
from importlib import metadata

import pytest

from cli.main import run
from tests.support.nowhere import lead_nowhere


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    lead_nowhere(monkeypatch)


SEND = "usage: shardwise transfer [OPTIONS] SOURCE TARGET AMOUNT\nmore: shardwise transfer --help"


@pytest.mark.parametrize(
    ("typed", "message", "field"),
    [
        ("transfer ada alan -14.00", "amount: expected more than zero, got -14.00", "amount"),
        ("transfer ada alan -.5", "amount: expected a decimal", "amount"),
        ("transfer ada alan 0", "amount: expected more than zero, got 0", "amount"),
        (
            "transfer ada alan 14 --protocol foo",
            f"--protocol: expected one of auto, local, saga, 2pc, got 'foo'\n{SEND}",
            "protocol",
        ),
        ("transfer", f"missing argument SOURCE\n{SEND}", "source"),
        ("transfer ada", f"missing argument TARGET\n{SEND}", "target"),
        ("transfer ada alan 14 --nope", f"no such option: --nope\n{SEND}", None),
        ("transfer ada alan 14 15", f"one argument too many: 15\n{SEND}", None),
        ("stock receive TEAPOT -5", "quantity: expected a whole number from 1 to 1000000, got '-5'", "quantity"),
        (
            "order",
            "missing command, one of place, show, details, trace, cancel, retry, list\n"
            "usage: shardwise order [OPTIONS] COMMAND [ARGS]...\nmore: shardwise order --help",
            None,
        ),
        ("order shw x", "no such command 'shw'. Did you mean 'show'?\nusage: shardwise order [", None),
        ("ordr", "no such command 'ordr'. Did you mean 'order'", None),
        ("", "missing command, one of up, down, status", None),
        ("order show", "missing argument ID\nusage: shardwise order show [OPTIONS] ID\nmore:", "order_id"),
        (
            "order place",
            "missing option --customer\nusage: shardwise order place --customer ID --line SKU:QTY[@PRICE] [OPTIONS]",
            "customer",
        ),
        ("order list --limit 0", "--limit: expected at least 1, got '0'\nusage: shardwise order list", "limit"),
        ("order list --limit x", "--limit: expected a whole number, got 'x'\nusage: shardwise order list", "limit"),
    ],
)
def test_a_wrong_command_line_is_reported_with_the_usage(
    capfd: pytest.CaptureFixture[str], typed: str, message: str, field: str | None
) -> None:
    assert run([*typed.split(), "--json"]) == 2
    out, err = capfd.readouterr()
    error = json.loads(out)["error"]
    assert set(error) == {"code", "message", "field"}
    assert error["message"].startswith(message)
    assert error["field"] == field
    assert err == ""
    assert run(typed.split()) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith(f"shardwise: {message}")


def test_the_version_is_the_installed_package_s(capfd: pytest.CaptureFixture[str]) -> None:
    version = metadata.version("shardwise")
    assert run(["--version"]) == 0
    assert capfd.readouterr().out == f"shardwise {version}\n"
    for line in (["--version", "--json"], ["--json", "--version"]):
        assert run(line) == 0
        assert json.loads(capfd.readouterr().out) == {"version": version}


@pytest.mark.parametrize(
    ("typed", "options"),
    [
        ("--help", ["--version", "--json", "--data-dir"]),
        ("order --help", ["--json"]),
        ("order list --help", ["--json", "--data-dir"]),
        ("transfer --help", ["send", "show", "SOURCE", "--protocol", "--reference", "--json", "--data-dir"]),
        ("transfer show --help", ["SOURCE", "--json", "--data-dir"]),
    ],
)
def test_help_lists_every_option_that_is_accepted(
    capfd: pytest.CaptureFixture[str], typed: str, options: list[str]
) -> None:
    assert run(typed.split()) == 0
    words = capfd.readouterr().out.split()
    assert [each for each in options if each not in words] == []


def test_the_version_is_printed_in_front_of_a_command_too(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["--version", "order", "list"]) == 0
    assert capfd.readouterr().out == f"shardwise {metadata.version('shardwise')}\n"
