"""Every command in the documents exists; the README leads to each page; the runbook knows checks and codes."""

from __future__ import annotations

import re
from pathlib import Path

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

README = ROOT / "README.md"
RUNBOOK = ROOT / "docs" / "operating.md"
PAGES = sorted((ROOT / "docs").glob("*.md"))
SHARDWISE = get_command(build_app())


TYPED = {each.line: each.words[1:] for each in all_typed() if each.words[0] == "shardwise"}


@pytest.mark.parametrize("line", TYPED)
def test_every_command_in_the_documents_exists(line: str) -> None:
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


@pytest.mark.parametrize("document", [*sorted(ROOT.glob("*.md")), *PAGES], ids=lambda path: path.name)
def test_the_links_of_a_document_lead_somewhere(document: Path) -> None:
    """Within the checkout, to a heading where one is named."""
    for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
        if link.startswith(("http://", "https://")):
            continue
        name, _, heading = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        assert target.exists(), link
        assert not heading or heading in anchors_of(target), link


def anchors_of(document: Path) -> set[str]:
    titles = re.findall(r"^##+ (.+)$", document.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^a-z0-9_ -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_the_readme_leads_to_every_page(page: Path) -> None:
    assert f"](docs/{page.name})" in README.read_text(encoding="utf-8")


def test_the_readme_is_short() -> None:
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    assert [line for line in lines if len(line) > 100] == []


def test_the_pictures_of_the_readme_are_small() -> None:
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", README.read_text(encoding="utf-8"))
    assert pictures
    assert all((ROOT / picture).stat().st_size < 200_000 for picture in pictures)
