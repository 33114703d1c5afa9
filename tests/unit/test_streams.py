"""Standard streams that are full, closed, or know no letters but ASCII: the exit code stands, nothing else breaks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SECONDS_MAX = 60
NO_STACK = "no stack in"
LOST = "cannot write the result"
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}


def shell(tmp_path: Path, command: str, redirections: str = "", **variables: str) -> tuple[int, str, str]:
    """Runs `shardwise <command>` in a folder without a stack; exit code, stdout and stderr."""
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$0" -P -m cli {command} {redirections}', sys.executable],
        env={**os.environ, "SHARDWISE_DATA_DIR": str(tmp_path / "none"), **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=SECONDS_MAX,
    )
    out, err = done.stdout.decode(), done.stderr.decode()
    assert "Traceback" not in err
    return done.returncode, out, err


@pytest.mark.parametrize("redirections", [">/dev/full", ">&-", "<&- >&-"])
@pytest.mark.parametrize("command", ["down", "down --json"])
def test_a_result_that_cannot_be_written_is_reported_and_no_success(
    tmp_path: Path, command: str, redirections: str
) -> None:
    code, _, err = shell(tmp_path, command, redirections)
    assert (code, LOST in err) == (1, True)


@pytest.mark.parametrize("command", ["--help", "down --help"])
def test_a_help_text_that_cannot_be_written_is_reported_and_no_success(tmp_path: Path, command: str) -> None:
    code, _, err = shell(tmp_path, command, ">/dev/full")
    assert (code, LOST in err, "unexpected" in err) == (1, True, False)


@pytest.mark.parametrize("redirections", [">/dev/full", ">&-"])
def test_an_error_document_that_cannot_be_written_is_printed_as_text(tmp_path: Path, redirections: str) -> None:
    code, _, err = shell(tmp_path, "status --json", redirections)
    assert (code, NO_STACK in err) == (3, True)


@pytest.mark.parametrize("redirections", ["2>/dev/full", "2>&-", "<&- >&- 2>&-"])
def test_an_error_that_cannot_be_written_anywhere_keeps_its_exit_code(tmp_path: Path, redirections: str) -> None:
    assert shell(tmp_path, "status", redirections) == (3, "", "")
    assert shell(tmp_path, "status --nope", redirections) == (2, "", "")


def test_without_stderr_the_result_is_still_whole(tmp_path: Path) -> None:
    assert shell(tmp_path, "down", "2>&-") == (0, f"nothing of a stack in {tmp_path / 'none'} ran\n", "")


def test_letters_that_a_terminal_does_not_know_are_written_out(tmp_path: Path) -> None:
    code, _, err = shell(tmp_path, f"status --data-dir '{tmp_path}/Zo\u00eb'", **ASCII)
    assert code == 3
    assert NO_STACK in err
    assert err.isascii()
    code, out, _ = shell(tmp_path, "order list --status '\u65e5\u672c' --json", **ASCII)
    assert code == 2
    assert '"usage"' in out
