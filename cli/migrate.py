"""`migrate`: bring the databases and Temporal to the state that this release needs."""

from __future__ import annotations

import typer

from cli.terminal.application import run_async
from cli.terminal.hints import hint_if_stack_is_down
from cli.terminal.options import DataDir
from cli.terminal.output import output, table
from stack.settings import load_settings


def register(app: typer.Typer) -> None:
    app.command()(migrate)


def migrate(data_dir: DataDir = None) -> None:
    """Upgrade every database, seed the shard map, register what Temporal needs to know. Safe to repeat."""
    from workers.migration.migrate import migrate as run

    out, settings = output(), load_settings(data_dir)
    with hint_if_stack_is_down(settings):
        done = run_async(run(settings, out.progress))
    document = {
        "databases": [{"name": each.name, "from": each.before, "to": each.after} for each in done.databases],
        "search_attributes": done.search_attributes,
        "schedules_removed": done.schedules_removed,
        "map_version": done.map_version,
    }
    rows = [(each.name, each.before or "empty", each.after) for each in done.databases]
    out.result(document, table(("database", "from", "to"), rows))
