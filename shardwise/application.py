"""The application: one service an area, over one installation."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from domain.errors import InvalidInput
from shardwise.connections import Opened
from stack.settings import Settings, load_settings

if TYPE_CHECKING:
    from shardwise.accounts import Accounts
    from shardwise.catalogue import Catalogue
    from shardwise.operations.service import Operations
    from shardwise.orders.service import Orders
    from shardwise.queries import Queries
    from shardwise.transfers.service import Transfers


class Shardwise:
    """What people and programs may ask of an installation, whatever they ask through.

        async with await Shardwise.connect() as app:
            order = await app.orders.place(customer="ada", lines=[("TEAPOT", 1)], order_id="A-17", wait=30)

    For one event loop, and there for any number of tasks at once. What is refused, invalid or out of reach is raised as
    one of the errors in `shardwise.errors`. A service is loaded when it is first asked for: a command that needs one
    does not wait for the others.
    """

    def __init__(self, opened: Opened) -> None:
        self._opened = opened

    @classmethod
    async def connect(cls, data_dir: str | Path | None = None, settings: Settings | None = None) -> Self:
        """To what the settings name: by default those of the environment, `SHARDWISE_…` and `TEMPORAL_…`, and the stack
        of `data_dir` or of their own folder.

        Raises `InvalidInput` for settings that are none, `Unreachable` where there is no stack. Servers are asked only
        when something is asked of them: one that is away is in the way of nothing that does not need it.
        """
        if data_dir is not None and settings is not None:
            raise InvalidInput("data_dir", "data_dir: expected settings or a folder, not both")
        opened = Opened(settings or load_settings(Path(data_dir) if data_dir is not None else None))
        opened.databases  # noqa: B018 - tells at once where there is no installation
        return cls(opened)

    async def close(self) -> None:
        """Ends the connections. What was begun goes on: a workflow carries it out."""
        await self._opened.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @cached_property
    def orders(self) -> Orders:
        from shardwise.orders.service import Orders

        return Orders(self._opened)

    @cached_property
    def transfers(self) -> Transfers:
        from shardwise.transfers.service import Transfers

        return Transfers(self._opened)

    @cached_property
    def accounts(self) -> Accounts:
        from shardwise.accounts import Accounts

        return Accounts(self._opened)

    @cached_property
    def catalogue(self) -> Catalogue:
        from shardwise.catalogue import Catalogue

        return Catalogue(self._opened)

    @cached_property
    def queries(self) -> Queries:
        from shardwise.queries import Queries

        return Queries(self._opened)

    @cached_property
    def operations(self) -> Operations:
        from shardwise.operations.service import Operations

        return Operations(self._opened)
