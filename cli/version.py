"""`--version`: of the package that is installed."""

from __future__ import annotations

from importlib import metadata

from cli.terminal.output import output

VERSION_FLAG = "--version"


def print_version() -> None:
    version = metadata.version("shardwise")
    output().result({"version": version}, f"shardwise {version}")
