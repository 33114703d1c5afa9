"""Work on a thread of its own, for as long as a block lasts."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Background(ABC):
    """`work` runs inside the block; at its end `wanted` is False and the block waits. Its failure is the block's."""

    def __init__(self) -> None:
        self._wanted = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._failure: BaseException | None = None

    @property
    def wanted(self) -> bool:
        return self._wanted.is_set()

    @abstractmethod
    def work(self) -> None:
        """Returns soon after it is no longer `wanted`."""

    def __enter__(self) -> Self:
        self._wanted.set()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._wanted.clear()
        self._thread.join()
        if self._failure is not None and error is None:
            raise self._failure

    def _run(self) -> None:
        try:
            self.work()
        except BaseException as failure:
            self._failure = failure
