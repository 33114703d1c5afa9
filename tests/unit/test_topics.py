"""A command is found in the topic that is loaded for it, and only that is loaded."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest
import typer
from typer.main import get_command

from cli.app import MODULES, build_app


@pytest.mark.parametrize("topic", MODULES)
def test_a_topic_registers_the_commands_that_it_is_loaded_for(topic: str) -> None:
    app = typer.Typer()

    @app.callback()
    def anything() -> None:
        pass

    import_module(topic).register(app)
    commands = getattr(get_command(app), "commands")  # noqa: B009 - a group has them
    assert sorted(commands) == sorted(MODULES[topic])


def test_without_a_command_all_are_there() -> None:
    every = sorted(name for names in MODULES.values() for name in names)
    for wanted in (None, "--help", "no-such-command"):
        assert sorted(getattr(get_command(build_app(wanted)), "commands")) == every  # noqa: B009


def test_one_command_does_not_load_what_the_others_need() -> None:
    loaded = "import sys; from cli.app import build_app; build_app('stock'); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-P", "-c", loaded], check=True, capture_output=True, text=True).stdout
    assert "cli.stock" in modules.split()
    others = {
        "cli.order.command",
        "cli.contrast",
        "alembic",
        "matplotlib",
        "workflows",
        "activities",
        "shardwise.operations",
    }
    assert not others & set(modules.split())
