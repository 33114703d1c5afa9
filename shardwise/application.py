"""The application: one service an area, over one installation."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from domain.argument_types import check_type
from domain.errors import InvalidInput
from shardwise.connections import Installation
from shardwise.reading import Reading
from shardwise.sessions import Session
from stack.settings import Settings, load_settings

if TYPE_CHECKING:
    from shardwise.accounts import Accounts
    from shardwise.catalogue import Catalogue
    from shardwise.comments import Comments
    from shardwise.locks import Locks
    from shardwise.operations.service import Operations
    from shardwise.orders.service import Orders
    from shardwise.profiles import Profiles
    from shardwise.queries import Queries
    from shardwise.reports import Reports
    from shardwise.transfers.service import Transfers


class Shardwise:
    """All operations on an installation, for programs and for the command line.

        async with await Shardwise.connect() as app:
            order = await app.orders.place(customer="ada", lines=[("TEAPOT", 1)], order_id="A-17", wait=30)

    Belongs to one event loop, in which any number of tasks may use it at once. Raises the errors in `shardwise.errors`
    for what is refused, invalid or out of reach. A service is loaded when it is first used: a command that needs one
    does not wait for the others.
    """

    def __init__(self, installation: Installation, session: Session | None = None) -> None:
        self._installation = installation
        self._reading = Reading(installation, session)

    def within(self, session: Session) -> Shardwise:
        """The same application for one caller: what it returns raises this session, and reads at the levels
        `read-your-writes` and `monotonic` show at least what the session wrote or has seen.

        The connections are shared: closing either closes both. `InvalidInput` for anything but a session.
        """
        return Shardwise(self._installation, check_type(session, Session, "session"))

    @classmethod
    async def connect(cls, data_dir: str | Path | None = None, settings: Settings | None = None) -> Self:
        """Connects to the installation that the settings name. By default these are the environment's, `SHARDWISE_…`
        and `TEMPORAL_…`, and the stack is that of `data_dir`, or of the folder that they name.

        Raises `InvalidInput` for settings that are invalid, `Unreachable` if there is no stack. A server is connected
        to only when it is needed: what does not need a server works while that server is down.
        """
        if data_dir is not None and settings is not None:
            raise InvalidInput("data_dir", "data_dir: expected settings or a folder, not both")
        installation = Installation(settings or load_settings(Path(data_dir) if data_dir is not None else None))
        installation.databases  # noqa: B018 - raises at once if there is no installation
        return cls(installation)

    async def close(self) -> None:
        """Closes the connections. What was begun goes on in its workflow."""
        await self._installation.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @cached_property
    def orders(self) -> Orders:
        from shardwise.orders.service import Orders

        return Orders(self._installation, self._reading)

    @cached_property
    def transfers(self) -> Transfers:
        from shardwise.transfers.service import Transfers

        return Transfers(self._installation, self._reading)

    @cached_property
    def accounts(self) -> Accounts:
        from shardwise.accounts import Accounts

        return Accounts(self._installation, self._reading)

    @cached_property
    def catalogue(self) -> Catalogue:
        from shardwise.catalogue import Catalogue

        return Catalogue(self._installation, self._reading)

    @cached_property
    def comments(self) -> Comments:
        from shardwise.comments import Comments

        return Comments(self._installation, self._reading)

    @cached_property
    def profiles(self) -> Profiles:
        from shardwise.profiles import Profiles

        return Profiles(self._installation, self._reading)

    @cached_property
    def queries(self) -> Queries:
        from shardwise.queries import Queries

        return Queries(self._installation, self._reading)

    @cached_property
    def reports(self) -> Reports:
        from shardwise.reports import Reports

        return Reports(self._installation)

    @cached_property
    def locks(self) -> Locks:
        from shardwise.locks import Locks

        return Locks(self._installation)

    @cached_property
    def operations(self) -> Operations:
        from shardwise.operations.service import Operations

        return Operations(self._installation)
