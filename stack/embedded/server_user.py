"""As which user Postgres runs: it refuses root, and `initdb` refuses a user that has no name.

An ordinary user runs it as itself. For the others, a user namespace shows Postgres a named, ordinary user while the
files stay the caller's, which also works in a home that nobody else may enter. If namespaces are forbidden, as in most
containers, root drops to an ordinary user, and files that this user cannot access are copied to a place where it can.
"""

from __future__ import annotations

import functools
import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from domain.errors import Unreachable

USUAL_ORDINARY_UID = 1000


class Identity(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True)
class ServerUser:
    prefix: tuple[str, ...] = ()
    """Goes before every command."""
    drop_to: tuple[int, int] | None = None
    """User and group to become."""

    def command(self, command: Sequence[str]) -> list[str]:
        return [*self.prefix, *command]

    def identity(self) -> Identity:
        if self.drop_to is None:
            return {}
        user, group = self.drop_to
        return {"user": user, "group": group, "extra_groups": []}

    def own(self, path: Path) -> None:
        """Make the user the owner of a file or folder and all below it, unless the user is the caller."""
        if self.drop_to is None:
            return
        for folder, _, files in os.walk(path):
            for name in (".", *files):
                os.chown(Path(folder, name), *self.drop_to, follow_symlinks=False)
        os.chown(path, *self.drop_to, follow_symlinks=False)


CALLER = ServerUser()


def choose() -> ServerUser:
    """Raises Unreachable if Postgres cannot run under any name."""
    if os.geteuid() != 0 and _has_name(os.geteuid()):
        return CALLER
    ordinary = _ordinary_user()
    if namespaces_allowed():
        return ServerUser(prefix=_namespace(ordinary.pw_uid))
    if os.geteuid() == 0:
        return ServerUser(drop_to=(ordinary.pw_uid, ordinary.pw_gid))
    message = f"Postgres needs a user with a name: user {os.geteuid()} has none, and user namespaces are forbidden"
    raise Unreachable("no_server_user", message)


@functools.cache
def namespaces_allowed() -> bool:
    try:
        probe = subprocess.run(
            [*_namespace(_ordinary_user().pw_uid), "true"], capture_output=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return probe.returncode == 0


def can_be_reached(file: Path) -> bool:
    """Whether any user may read and run the file."""
    return file.stat().st_mode & 0o005 == 0o005 and can_be_entered(file.parent)


def can_be_entered(folder: Path) -> bool:
    """Whether any user may pass through the folder and every one above it."""
    return all(place.stat().st_mode & 0o001 for place in (folder, *folder.parents))


def _namespace(uid: int) -> tuple[str, ...]:
    return ("unshare", "--user", f"--map-user={uid}", f"--map-group={uid}", "--")


def _has_name(uid: int) -> bool:
    return any(user.pw_uid == uid for user in pwd.getpwall())


def _ordinary_user() -> pwd.struct_passwd:
    named = sorted((user for user in pwd.getpwall() if user.pw_uid > 0), key=lambda user: user.pw_uid)
    usual = [user for user in named if user.pw_uid == USUAL_ORDINARY_UID]
    nobody = [user for user in named if user.pw_name == "nobody"]
    if candidates := usual + nobody + named:
        return candidates[0]
    raise Unreachable("no_server_user", "Postgres refuses root, and this machine has no other user")
