"""What the documents tell people to type exists; the runbook knows every check and every code of a log line."""

from __future__ import annotations

import re

import pytest
from typer.main import get_command

from activities.effects import GIVEN_UP
from cli.app import build_app
from cli.transfer import DEFAULT, SendByDefault
from domain.errors import ShardwiseError, StaleRoute, TryAgain
from shards.audit.findings import Check
from shards.connections.database_errors import DatabaseFailure, IntegrityViolation
from shards.outbox.cursors import RebuildNeeded
from shards.projection.switching import Superseded
from tests.support.documents import ROOT, all_typed

RUNBOOK = ROOT / "docs" / "runbook.md"
SHARDWISE = get_command(build_app())


TYPED = {each.line: each.words[1:] for each in all_typed() if each.words[0] == "shardwise"}


@pytest.mark.parametrize("line", TYPED)
def test_what_is_told_to_be_typed_exists(line: str) -> None:
    words = list(TYPED[line])
    command = SHARDWISE
    while getattr(command, "commands", None) and not words[0].startswith("--"):
        by_default = isinstance(command, SendByDefault) and words[0] not in command.commands
        name = DEFAULT if by_default else words.pop(0)
        assert name in command.commands, f"{line}: there is no command {name}"
        command = command.commands[name]
    options = {option for parameter in command.params for option in parameter.opts}
    for word in words:
        if word.startswith("--"):
            assert word.split("=")[0] in options | {"--json", "--help"}, f"{line}: there is no option {word}"


def test_the_commands_are_found_at_all() -> None:
    assert len(TYPED) > 40
    assert {"shardwise verify", "shardwise projection revert"} <= TYPED.keys()


@pytest.mark.parametrize("check", Check)
def test_the_runbook_explains_every_check(check: Check) -> None:
    assert f"| `{check}` |" in RUNBOOK.read_text()


@pytest.mark.parametrize(
    "error",
    [
        *(GIVEN_UP, StaleRoute(""), TryAgain(""), DatabaseFailure(""), IntegrityViolation("")),
        *(RebuildNeeded(""), Superseded()),
    ],
)
def test_the_runbook_explains_every_code_of_a_log_line(error: ShardwiseError) -> None:
    assert f"| `{error.code}` |" in RUNBOOK.read_text()


def test_the_links_of_the_runbook_lead_somewhere() -> None:
    text = RUNBOOK.read_text()
    anchors = {
        re.sub(r"[^a-z -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^## (.+)$", text, re.M)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors
