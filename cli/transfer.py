"""`transfer SOURCE TARGET AMOUNT` and `transfer show`."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from typer.core import TyperGroup

from cli.terminal.application import call_app
from cli.terminal.options import DataDir, SessionFile
from cli.terminal.output import output, table
from cli.terminal.usage import TakesNumbers
from domain.identifiers import check_identifier
from domain.transfers import ProtocolChoice, TransferStatus
from shardwise.transfers.documents import TransferDocument

DEFAULT = "send"
Source = Annotated[str, typer.Argument(metavar="SOURCE", show_default=False)]
_EXIT_CODES = {TransferStatus.SETTLED: 0, TransferStatus.DECLINED: 1}


class SendByDefault(TyperGroup):
    """`transfer ada bob 14.00` is `transfer send ada bob 14.00`, which also accounts named like a command can use."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in self.get_help_option_names(ctx)):
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Also prints the help of `send`, which runs if no command is named."""
        super().format_help(ctx, formatter)
        send_by_default = self.commands[DEFAULT]
        formatter.write_paragraph()
        send_by_default.format_help(send_by_default.make_context(DEFAULT, [], ctx, resilient_parsing=True), formatter)


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        cls=SendByDefault,
        help=(
            "Money from one account to another: `transfer SOURCE TARGET AMOUNT`, which is `transfer send`, as below. "
            "`account statement` lists those of an account."
        ),
    )
    group.command(cls=TakesNumbers)(send)
    group.command()(show)
    app.add_typer(group, name="transfer")


def send(
    source: Source,
    target: Annotated[str, typer.Argument(metavar="TARGET", show_default=False)],
    amount: Annotated[str, typer.Argument(metavar="AMOUNT", help="A decimal, such as 14.00.", show_default=False)],
    currency: Annotated[str | None, typer.Option(help="ISO 4217.  [default: the source's]")] = None,
    protocol: Annotated[ProtocolChoice, typer.Option(help="Across shards; on one shard all are local.")] = (
        ProtocolChoice.AUTO
    ),
    transfer_id: Annotated[
        str | None,
        typer.Option("--id", help="Unique within the source; makes it safe to repeat.  [default: a new one]"),
    ] = None,
    reference: Annotated[str | None, typer.Option(help="Free text.")] = None,
    wait: Annotated[
        float, typer.Option("--wait", min=0, metavar="SECONDS", help="How long to wait for the end.")
    ] = 30.0,
    session: SessionFile = None,
    data_dir: DataDir = None,
) -> int:
    """Move money and wait for the end.

    Exit code 0 when settled, 1 when declined, 3 when not final in time: it goes on by itself.
    """
    if transfer_id is not None:
        check_identifier(transfer_id, "id")
    say = output().progress
    sent = call_app(
        data_dir,
        lambda app: app.transfers.move(source, target, amount, protocol, transfer_id, currency, reference, wait, say),
        session,
    )
    _print(sent)
    return _EXIT_CODES.get(sent.status, 3)


def show(
    source: Source,
    transfer_id: Annotated[str, typer.Argument(metavar="ID")],
    session: SessionFile = None,
    data_dir: DataDir = None,
) -> None:
    """Show a transfer and its status."""
    _print(call_app(data_dir, lambda app: app.transfers.show(source, transfer_id), session))


def _print(transfer: TransferDocument) -> None:
    why = f": {transfer.reason}, {transfer.detail}" if transfer.reason else ""
    amount = f"{transfer.amount} {transfer.currency}"
    row = (
        transfer.source,
        transfer.source_shard,
        transfer.target,
        transfer.target_shard,
        amount,
        transfer.protocol or "",
    )
    parts: list[RenderableType] = [
        f"transfer {transfer.transfer_id} is {transfer.status}{why}",
        table(("source", "on", "target", "on", "amount", "protocol"), [row], whole=("source", "target")),
    ]
    output().result(transfer, Group(*parts))
