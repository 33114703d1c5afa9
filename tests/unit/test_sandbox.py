"""What the sandbox loads for each workflow that a worker gets: the code that decides, anew, and nothing else.

Loading happens on the worker's event loop, in the time of the workflow's first task: what is slow here has made workers
begin the same tasks again for ever.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest
from pydantic.dataclasses import is_pydantic_dataclass
from temporalio import workflow

from workers.run import HOSTED
from workers.runner.sandbox import workflow_runner

WORKFLOWS = list(dict.fromkeys(each for hosted in HOSTED.values() for each in hosted.workflows))


class _Recorder:
    """Asked first for each module that is not loaded yet; finds none."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        self.asked.append(name)


@contextmanager
def _recorded() -> Iterator[list[str]]:
    recorder: Any = _Recorder()
    sys.meta_path.insert(0, recorder)
    try:
        yield recorder.asked
    finally:
        sys.meta_path.remove(recorder)


def _loaded_for(hosted: type) -> list[str]:
    """The modules that a second instance loads: the first one may find something new in the process."""
    runner, definition = workflow_runner(sandboxed=True), workflow._Definition.must_from_class(hosted)
    runner.prepare_workflow(definition)
    with _recorded() as loaded:
        runner.prepare_workflow(definition)
    return loaded


@pytest.mark.parametrize("hosted", WORKFLOWS)
async def test_a_workflow_loads_the_code_that_decides_and_nothing_else(hosted: type) -> None:
    loaded = _loaded_for(hosted)
    assert hosted.__module__ in loaded
    assert len(loaded) == len(set(loaded)) <= 7
    assert [name for name in loaded if name.partition(".")[0] != "workflows"] == []


@pytest.mark.parametrize("hosted", WORKFLOWS)
async def test_no_schema_is_built_for_a_workflow(hosted: type) -> None:
    """As much work as loading all the rest: data belongs in `workflows.interfaces`, which is passed through."""
    built = [
        f"{name}.{kind.__name__}"
        for name in _loaded_for(hosted)
        for _, kind in inspect.getmembers(importlib.import_module(name), inspect.isclass)
        if kind.__module__ == name and is_pydantic_dataclass(kind)
    ]
    assert built == []
