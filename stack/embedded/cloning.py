"""Copies the files of a Postgres server that runs, for a replica of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from pydantic import SecretStr

from domain.errors import Unreachable
from stack.embedded import processes
from stack.embedded.postgres_files import PostgresFiles
from stack.embedded.record import LOOPBACK, OWNER

CLONE_SECONDS_MAX = 3600
# A primary that was a replica once may have them there, where they would win over the configuration of its replica.
_SETTINGS_OF_A_REPLICA = ("primary_conninfo", "primary_slot_name", "wal_retrieve_retry_interval")


def clone(files: PostgresFiles, name: str, port: int, password: SecretStr) -> None:
    """Make the data directory of `name` a copy of that of the server on this port, which goes on working meanwhile.

    A crash leaves a draft, and perhaps a `pg_basebackup` that still runs: the next call ends both. Raises Unreachable.
    """
    draft = files.draft(name)
    drop_draft(draft)
    draft.mkdir(mode=0o700)
    files.user.own(draft)
    command = [
        *(str(files.bin / "pg_basebackup"), "-D", str(draft)),
        *("--host", LOOPBACK, "--port", str(port), "--username", OWNER, "--no-password"),
        # At once, and not when the next checkpoint is due. What is logged meanwhile comes along.
        *("--checkpoint", "fast", "--wal-method", "stream"),
    ]
    inherited = {variable: value for variable, value in os.environ.items() if not variable.startswith("PG")}
    secret = {"PGPASSWORD": password.get_secret_value()}
    done = subprocess.run(
        files.user.command(command),
        cwd=draft,
        env={**inherited, **secret, processes.PART_VARIABLE: str(draft)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=CLONE_SECONDS_MAX,
        check=False,
        **files.user.identity(),
    )
    if done.returncode != 0:
        raise Unreachable("clone_failed", f"{name} could not be cloned: {(done.stderr or done.stdout).strip()}")
    _forget_its_own_primary(draft / "postgresql.auto.conf")
    draft.rename(files.server(name))


def drop_draft(draft: Path) -> None:
    for process in processes.working_in(draft):
        processes.kill(process)
    shutil.rmtree(draft, ignore_errors=True)


def _forget_its_own_primary(altered: Path) -> None:
    lines = altered.read_text().splitlines(keepends=True)
    kept = [line for line in lines if line.partition("=")[0].strip() not in _SETTINGS_OF_A_REPLICA]
    if kept != lines:
        altered.write_text("".join(kept))
