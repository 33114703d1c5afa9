"""`lock acquire | renew | release | show`."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.terminal.application import call_app
from cli.terminal.options import DataDir
from cli.terminal.output import output, table, table_or
from domain.identifiers import check_identifier
from domain.leases import LEASE_SECONDS, Mode, check_lease_name
from domain.timestamps import short_timestamp
from shardwise.locks import Lease, LeaseState, new_holder_id

Name = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]
Seconds = Annotated[float, typer.Option(help="How long it lasts unless it is renewed, 1 to 86400.")]
Holder = Annotated[str, typer.Option(metavar="ID", help="As `lock acquire` printed it.", show_default=False)]
Token = Annotated[int, typer.Option(help="As `lock acquire` printed it.", show_default=False)]


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Leases: what only one, or only readers, may do at a time. The token is what makes it safe.",
        no_args_is_help=True,
    )
    for command in (acquire, renew, release, show):
        group.command()(command)
    app.add_typer(group, name="lock")


def acquire(
    name: Name,
    holder: Annotated[
        str | None, typer.Option(metavar="ID", help="Who has it; makes it safe to repeat.  [default: a new one]")
    ] = None,
    mode: Annotated[Mode, typer.Option(help="shared: any number of holders, and no exclusive one.")] = Mode.EXCLUSIVE,
    seconds: Seconds = LEASE_SECONDS,
    wait: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="How long to queue for it, in the order of arrival.")
    ] = 0.0,
    data_dir: DataDir = None,
) -> None:
    """Take a lease for a limited time, and print its token. Send the token along with what you write under it.

    Exit code 1 if it is not free, or not in time.
    """
    check_lease_name(name)
    chosen = new_holder_id() if holder is None else check_identifier(holder, "holder")
    if holder is None:
        # Printed before it is used: if the answer is lost, only a repeat by the same holder gets the same lease.
        output().progress(f"holder {chosen}")
    _print(call_app(data_dir, lambda app: app.locks.acquire(name, chosen, mode, seconds, wait)))


def renew(name: Name, holder: Holder, token: Token, seconds: Seconds = LEASE_SECONDS, data_dir: DataDir = None) -> None:
    """Let a lease last longer. Safe to repeat. Exit code 1 for anybody but its holder, and when its time is over."""
    _print(call_app(data_dir, lambda app: app.locks.renew(name, holder, token, seconds)))


def release(name: Name, holder: Holder, token: Token, data_dir: DataDir = None) -> None:
    """Give a lease back. Safe to repeat. Exit code 1 if somebody else has it."""
    _print_state(call_app(data_dir, lambda app: app.locks.release(name, holder, token)))


def show(name: Name, data_dir: DataDir = None) -> None:
    """Show who has a lease and who waits for it. Also of the installation's: shardwise/staging."""
    _print_state(call_app(data_dir, lambda app: app.locks.show(name)))


_COLUMNS = ("lease", "holder", "mode", "token", "since", "until")


def _row(lease: Lease) -> tuple[str, ...]:
    since, until = short_timestamp(lease.granted_at), short_timestamp(lease.expires_at)
    return lease.name, lease.holder, lease.mode, str(lease.token), since, until


def _print(lease: Lease) -> None:
    output().result(lease, table(_COLUMNS, [_row(lease)]))


def _print_state(lease: LeaseState) -> None:
    rows = [_row(each) for each in lease.holders]
    for each in lease.waiters:
        since, until = short_timestamp(each.arrived_at), short_timestamp(each.gives_up_at)
        rows.append((lease.name, each.holder, each.mode, "waits", since, until))
    nobody = f"nobody holds {lease.name}; its last token is {lease.token}"
    output().result(lease, table_or(table(_COLUMNS, rows), nobody))
