"""The files of the Postgres servers: one `initdb` into a template, then a copy for each server.

Everything is made under another name and then renamed, so a kill in the middle leaves nothing that looks complete.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from domain.errors import Unreachable
from stack.embedded import processes, server_user
from stack.embedded.record import OWNER, StackRecord
from stack.embedded.server_user import ServerUser

SYSTEM_HOME = Path("/var/lib/shardwise")
CONFIGURATION = "shardwise.conf"
INITDB_SECONDS = 120


@dataclass(frozen=True)
class PostgresFiles:
    """The servers' programs and data, both accessible to the user that runs them."""

    home: Path
    bin: Path
    user: ServerUser

    def server(self, name: str) -> Path:
        return self.home / name

    @property
    def _template(self) -> Path:
        return self.home / ".template"

    def draft(self, server: str) -> Path:
        """Where its data directory is made, before it is renamed."""
        return self.home / f".{server}.new"

    def make(self, server: str) -> None:
        """Make the server's data directory, if it is missing. A crash leaves a draft, which the next call removes."""
        folder = self.server(server)
        if not folder.exists():
            draft = self.draft(server)
            shutil.rmtree(draft, ignore_errors=True)
            shutil.copytree(self._template, draft, symlinks=True)
            self.user.own(draft)
            self._initdb("--sync-only", "-D", str(draft))
            draft.rename(folder)

    def make_template(self, password: SecretStr) -> None:
        """Make the template, if it is missing. A crash leaves a draft, and perhaps a running `initdb`: the next call
        ends both."""
        if self._template.exists():
            return
        draft = self.home / ".template.new"
        self._end_initdb(draft)
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        self.user.own(draft)
        with _password_file(self.home / ".password", password.get_secret_value(), self.user) as file:
            self._initdb(*_INITDB_OPTIONS, f"--pwfile={file}", "-D", str(draft))
        with (draft / "postgresql.conf").open("a") as configuration:
            configuration.write(f"\ninclude_if_exists = '{CONFIGURATION}'\n")
        draft.rename(self._template)

    def drop_template(self) -> None:
        shutil.rmtree(self._template, ignore_errors=True)

    def _initdb(self, *arguments: str) -> None:
        done = subprocess.run(
            self.user.command([str(self.bin / "initdb"), *arguments]),
            cwd=self.home,
            env={**os.environ, processes.PART_VARIABLE: str(self.home)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=INITDB_SECONDS,
            check=False,
            **self.user.identity(),
        )
        if done.returncode != 0:
            raise Unreachable("initdb_failed", f"initdb failed: {(done.stderr or done.stdout).strip()}")

    def _end_initdb(self, draft: Path) -> None:
        for process in processes.working_in(self.home) + processes.working_in(draft):
            processes.kill(process)


_INITDB_OPTIONS = (
    f"--username={OWNER}",
    "--auth=scram-sha-256",
    # The password is random, so it cannot be guessed however cheap a guess is. The usual 4096 rounds are a third of
    # what a connection costs.
    "--set=scram_iterations=1",
    "--encoding=UTF8",
    # The built-in locale sorts the same on every machine and survives a change of the system's C library.
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--no-sync",
    "--no-instructions",
)


def locate(data_dir: Path, record: StackRecord, programs: Path) -> PostgresFiles:
    """Choose the user, and places that it can access: the data directory if possible, else a system folder.

    The choice of the place is written into the record, which the caller saves before anything is made there.
    """
    user = server_user.choose()
    if record.postgres_home is None and user.drop_to and not server_user.can_be_entered(data_dir):
        name = hashlib.blake2b(os.fsencode(data_dir), digest_size=8).hexdigest()
        record.postgres_home = SYSTEM_HOME / name
    return PostgresFiles(home_of(data_dir, record), programs, user)


def home_of(data_dir: Path, record: StackRecord) -> Path:
    return record.postgres_home or data_dir / "postgres"


def provide(files: PostgresFiles) -> PostgresFiles:
    """Make the home folder, and copy the programs into it if their user cannot access them."""
    # Only the caller may write here, everybody may pass through: each server's own folder is its user's alone.
    files.home.mkdir(mode=0o711, parents=True, exist_ok=True)
    if files.user.drop_to is None or server_user.can_be_reached(files.bin / "postgres"):
        return files
    copy = files.home / ".programs"
    if not copy.exists():
        draft = files.home / ".programs.new"
        shutil.rmtree(draft, ignore_errors=True)
        _copy_programs(files.bin.parent, draft)
        draft.rename(copy)
    return PostgresFiles(files.home, copy / "wheel" / "postgres" / "bin", files.user)


def _copy_programs(install: Path, target: Path) -> None:
    """The wheel's programs look for their libraries beside the package, two folders above the installation."""
    shutil.copytree(install, target / "wheel" / "postgres", symlinks=True)
    for libraries in install.parent.parent.glob(install.parent.name + ".libs"):
        shutil.copytree(libraries, target / libraries.name, symlinks=True)
    for folder, _, files in os.walk(target):
        os.chmod(folder, 0o755)
        for name in files:
            path = Path(folder, name)
            path.chmod(path.stat().st_mode | 0o044 | (0o011 if path.stat().st_mode & 0o100 else 0))


@contextlib.contextmanager
def _password_file(path: Path, password: str, user: ServerUser) -> Iterator[Path]:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(password + "\n")
    user.own(path)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
