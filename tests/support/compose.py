"""docker-compose.yml as the real Compose reads it; no container engine is needed for that."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
COMPOSE_FILE = REPOSITORY / "docker-compose.yml"
COMPOSE_SECONDS_MAX = 30


def compose(
    *arguments: str, file: Path = COMPOSE_FILE, profile: str = "*", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run Compose with nothing set but `variables`, on all services whatever their profile, or on one profile's."""
    program = Path(sysconfig.get_path("scripts"), "docker-compose")
    return subprocess.run(
        [program, "--file", file, "--env-file", os.devnull, "--profile", profile, *arguments],
        env={"PATH": os.defpath, "HOME": "/nonexistent", **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMPOSE_SECONDS_MAX,
        check=False,
    )


def project(**variables: str) -> dict[str, Any]:
    """The whole file with its anchors, defaults and `variables` put in."""
    done = compose("config", "--format", "json", **variables)
    assert done.returncode == 0, done.stderr
    # What it prints is a compose file again, where a dollar sign is written twice.
    read: dict[str, Any] = json.loads(done.stdout.replace("$$", "$"))
    return read


def environment(service: dict[str, Any]) -> dict[str, str]:
    """What the container's process gets; a variable without a value is left out."""
    return {name: value for name, value in service.get("environment", {}).items() if value is not None}
