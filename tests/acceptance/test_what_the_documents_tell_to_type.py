"""Every command of the documents, typed in their order on a fresh installation with cli/sample in its folder.

A command that is new in a document is run here, or named in `ELSEWHERE` with the reason.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cli.main import run
from tests.conftest import FreshCluster, FreshNamespace
from tests.support.command import Answer, Shardwise, on_own_servers
from tests.support.documents import ROOT, Typed, all_typed, block_of, shape
from tests.support.installation import Installation

COMMANDS = ROOT / "docs" / "commands.md"
# What the programs print that stand among the commands, each run where it stands.
PRINTED = {
    "README.md": ["rejected out_of_stock GRINDER: 4 wanted, 3 available"],
    "docs/consistency.md": ["Teapot, blue", "Teapot, blue"],
}
# The order whose trace the README shows.
TRACED = "A-17"
# Patterns of whole lines, and what runs them.
ELSEWHERE = {
    r"make .*": "the targets of the Makefile: `test_every_target_is_there`; CI runs check and test",
    r"docker compose .*": "needs a container engine: tests/integration/test_compose_services.py runs what they run",
    r"export .*": "addresses of somebody's servers: `test_the_exported_variables_are_those_of_own_servers`",
    r"SHARDWISE_MIGRATION_USER=.* shardwise migrate": "as somebody's owner: tests/integration/test_database_role.py",
    r"shardwise (up|down)( .*)?": "starts and stops a stack: tests/embedded, tests/integration/test_embedded_stack.py",
    r"shardwise status": "shows an embedded stack: tests/embedded",
    r"shardwise worker( --queue payment)?": "runs until it is ended: this file's installation has one",
    r"temporal workflow terminate .*": "Temporal's own command: tests/embedded/test_refused_starts.py does the same",
    r"shardwise partition( .*)?": "cuts off a shard of an embedded stack: tests/embedded/test_partition.py",
    r"shardwise contrast": "takes minutes: tests/embedded/test_contrast.py runs it with --quick",
}
# Lines that exit with another code than 0, as the document says.
EXIT_CODES = {
    # Not decided within its second, so that the next line can cancel it.
    "SHARDWISE_CANCELLATION_WINDOW_SECONDS=60 shardwise order place --customer ada --line KETTLE:1 --wait 1": 3,
}
# What the document says must come first, if the lines before it do not do it.
BEFORE = {"shardwise projection revert": ("projection", "rebuild")}
# Answered by the read model, which follows. The answer must not be empty: an example has something to show.
FOLLOWING = {
    "order list": "orders",
    "order details": "items",
    "account statement": "movements",
    "stock list": "stock",
    "report sales": "sales",
}


def is_elsewhere(typed: Typed) -> bool:
    return any(re.fullmatch(pattern, typed.line) for pattern in ELSEWHERE)


class Typist:
    """Types the commands, with the ids that earlier ones have returned."""

    def __init__(self, shardwise: Shardwise) -> None:
        self._shardwise = shardwise
        self._ids: dict[str, str] = {}

    def type(self, typed: Typed) -> Answer:
        arguments = [self._ids.get(word, word) for word in typed.words[1:] if word != "--json"]
        settings = {name.removeprefix("SHARDWISE_").lower(): value for name, value in typed.settings.items()}
        name = " ".join(arguments[:2])
        if name in FOLLOWING:
            self._shardwise.once(lambda found: bool(found[FOLLOWING[name]]), *arguments)
        answer = self._shardwise.inside(*arguments, **settings)
        self._learn(arguments, answer)
        return answer

    def _learn(self, arguments: list[str], answer: Answer) -> None:
        match arguments:
            case ["order", "place", *_]:
                self._ids["ORDER_ID"] = answer.document["order_id"]
            case ["transfer", source, *_] if source != "show":
                self._ids["TRANSFER_ID"] = answer.document["transfer_id"]


def run_program(shardwise: Shardwise, program: str) -> list[str]:
    """The lines that it prints."""
    out = io.StringIO()
    with shardwise.led(), contextlib.redirect_stdout(out), ThreadPoolExecutor(1) as thread:
        # A thread of its own, which has no event loop yet.
        thread.submit(exec, program, {}).result()
    return out.getvalue().splitlines()


@pytest.fixture(scope="module")
async def fresh(
    fresh_cluster: FreshCluster, fresh_namespace: FreshNamespace, installation: Installation
) -> AsyncIterator[Shardwise]:
    folder = installation.stacks / f"documents-{os.getpid()}"
    shutil.copytree(ROOT / "cli" / "sample", folder / "cli" / "sample")
    async with fresh_cluster() as databases:
        command = on_own_servers(folder, databases, await fresh_namespace())
        assert command.inside("migrate").exit_code == 0
        with command.working():
            yield command


def test_every_command_in_the_documents_does_what_they_say(fresh: Shardwise, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(fresh.data_dir)
    typist, wrong = Typist(fresh), list[Any]()
    for typed in all_typed():
        if is_elsewhere(typed):
            continue
        if typed.is_program:
            if (printed := run_program(fresh, typed.line)) != PRINTED[typed.document]:
                wrong.append((typed, printed))
            continue
        assert typed.words[0] == "shardwise", f"{typed}: it is neither run nor known"
        if typed.line in BEFORE:
            assert fresh.inside(*BEFORE[typed.line]).exit_code == 0
        answer = typist.type(typed)
        if answer.exit_code != EXIT_CODES.get(typed.line, 0):
            wrong.append((typed, answer))
        elif typed.shown is not None and shape(answer.document) != shape(typed.shown):
            wrong.append((typed, answer.document))
    assert wrong == []
    refused = fresh.inside("order", "show", "sample-4").document
    assert f"(of `order/sample-4`: `rejected: {refused['reason']}, {refused['detail']}`)" in COMMANDS.read_text()
    outcomes = Path("cli/sample/payroll.outcomes.csv").read_text().splitlines()
    assert [line.split(",")[2] for line in outcomes[1:]].count("declined") == 1, outcomes


def test_the_program_of_the_documents_does_what_they_say(fresh: Shardwise) -> None:
    """Behind the commands, whose customers and products it needs."""
    order, *transfers, orders, refused = run_program(fresh, block_of("docs/from-your-code.md", "python"))
    assert order.startswith("confirmed ")
    assert transfers == ["settled", "settled"]
    assert len(orders) > len("[]")
    assert refused.startswith("account_not_empty ")


def test_the_readme_shows_the_trace_that_the_command_prints(fresh: Shardwise) -> None:
    """Of the order that its program has placed, behind the commands. Shortened, so each line that it shows is there."""
    with fresh.led(), ThreadPoolExecutor(1) as thread:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            assert thread.submit(run, ["order", "trace", TRACED]).result() == 0
    shown, traced = steps_of(block_of("README.md", "text")), steps_of(out.getvalue())
    assert len(shown) > 10
    assert [line for line in shown if line not in traced] == []


def steps_of(tree: str) -> list[str]:
    """Without times and branches, which are others in each run."""
    lines = [re.sub(r"( \+[0-9.]+ s|began ).*", "", line).strip("│├└─ ,") for line in tree.splitlines()]
    return [line for line in lines if line]


def test_the_exceptions_are_still_there() -> None:
    lines = {each.line for each in all_typed()}
    assert PRINTED.keys() == {each.document for each in all_typed() if each.is_program}
    assert f"shardwise order trace {TRACED}" in lines
    assert (EXIT_CODES.keys() | BEFORE.keys()) <= lines
    assert [pattern for pattern in ELSEWHERE if not any(re.fullmatch(pattern, line) for line in lines)] == []


def test_every_target_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    documented = {each.words[1] for each in all_typed() if each.words[0] == "make"}
    assert documented <= targets


def test_the_exported_variables_are_those_of_own_servers(fresh: Shardwise) -> None:
    exported = {each.words[1].partition("=")[0] for each in all_typed() if each.words[0] == "export"}
    # The owner's are documented beside the command that needs them, and nowhere else.
    owners = {"SHARDWISE_MIGRATION_USER", "SHARDWISE_MIGRATION_PASSWORD"}
    # Whoever has no replicas needs no variable for them: tests/integration/test_replicas.py has some.
    assert exported - {"SHARDWISE_REPLICAS"} == fresh.own_servers.keys() - owners
