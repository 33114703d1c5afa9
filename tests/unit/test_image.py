"""The Dockerfile, as far as it can be judged without building it: it copies all of the wheel, and drops root."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

BUILD_SECONDS_MAX = 60

Instruction = tuple[str, list[str]]


def _stages() -> list[list[Instruction]]:
    """The instructions of each stage, from its FROM on."""
    text = (REPOSITORY / "Dockerfile").read_text().replace("\\\n", " ")
    stages: list[list[Instruction]] = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        keyword, *words = line.split()
        if keyword == "FROM":
            stages.append([])
        if stages:
            stages[-1].append((keyword, words))
    return stages


BUILD, FINAL = _stages()


def _copied_from_context(stage: list[Instruction]) -> list[str]:
    copies = [words for keyword, words in stage if keyword == "COPY" and not words[0].startswith("--from")]
    return [source for *sources, _ in copies for source in sources]


def _shipped_packages() -> set[str]:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    return set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])


def test_every_package_of_the_wheel_is_copied_to_a_folder_of_its_name() -> None:
    copied = {tuple(words) for keyword, words in BUILD if keyword == "COPY"}
    assert {(package, package) for package in _shipped_packages()} <= copied


def test_the_context_holds_exactly_the_copied_files() -> None:
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule.removeprefix("!") for rule in rules if rule.startswith("!")} == set(_copied_from_context(BUILD))
    assert _copied_from_context(FINAL) == []


def test_the_copied_files_build_the_whole_wheel(tmp_path: Path) -> None:
    context = tmp_path / "context"
    context.mkdir()
    for source in _copied_from_context(BUILD):
        whole = REPOSITORY / source
        if whole.is_dir():
            shutil.copytree(whole, context / source, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(whole, context)
    built = _files_of_wheel(context, tmp_path / "of-context")
    assert built == _files_of_wheel(REPOSITORY, tmp_path / "of-repository")
    beside, packages = {"shardwise.dist-info/licenses/LICENSE"}, _shipped_packages()
    assert {name for name in built if name.partition("/")[0] not in packages} == beside
    assert {name.partition("/")[0] for name in built - beside} == packages


def test_only_what_the_lock_vouches_for_is_installed() -> None:
    (download,) = [words for keyword, words in BUILD if keyword == "RUN" and "download" in words]
    assert {"--require-hashes", "--no-deps"} <= set(download)
    assert download[download.index("--requirement") + 1] == "requirements.lock"
    (install,) = [words for keyword, words in BUILD if keyword == "RUN" and "install" in words]
    assert "--no-index" in install
    assert install[install.index("--find-links") + 1] == download[download.index("--dest") + 1]
    assert install[-1] == "."  # Without an extra: no servers, no plots, no development tools.
    assert not [words for keyword, words in FINAL if keyword == "RUN"]


def test_the_image_does_not_run_as_root() -> None:
    users = [words for keyword, words in FINAL if keyword == "USER"]
    user, group = users[-1][0].split(":")
    assert int(user) > 0
    assert int(group) > 0


def test_both_stages_are_of_one_python_that_shardwise_supports() -> None:
    bases = {stage[0][1][0] for stage in (BUILD, FINAL)}
    assert bases == {"python:${PYTHON_VERSION}-slim-trixie"}
    (default,) = [
        line.partition("=")[2]
        for line in (REPOSITORY / "Dockerfile").read_text().splitlines()
        if line.startswith("ARG PYTHON_VERSION=")
    ]
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    oldest = project["requires-python"].removeprefix(">=")
    assert [int(part) for part in default.split(".")] >= [int(part) for part in oldest.split(".")]


def _files_of_wheel(source: Path, target: Path) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "hatchling", "build", "--target", "wheel", "--directory", str(target)],
        cwd=source,
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS_MAX,
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(done.stderr)
    (wheel,) = target.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = [re.sub(r"-[^/]*\.dist-info/", ".dist-info/", name) for name in archive.namelist()]
    return {name for name in names if ".dist-info/" not in name or "/licenses/" in name}
