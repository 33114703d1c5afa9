"""`comment post | thread | hide`."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.terminal.application import call_app, read_app
from cli.terminal.options import DataDir, Following, SessionFile
from cli.terminal.output import output, table, table_or
from cli.terminal.paging import After, Limit, with_next
from domain.timestamps import short_timestamp
from shardwise.comments import LIMIT, CommentInThread
from shardwise.new_ids import new_id

Sku = Annotated[str, typer.Argument(metavar="SKU", show_default=False)]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Comments on products: always taken, while any shard answers.", no_args_is_help=True)
    for command in (post, thread, hide):
        group.command()(command)
    app.add_typer(group, name="comment")


def post(
    sku: Sku,
    text: Annotated[str, typer.Argument(metavar="TEXT", show_default=False)],
    customer: Annotated[str, typer.Option(metavar="ID", help="Whose it is.", show_default=False)],
    comment_id: Annotated[
        str | None, typer.Option("--id", help="Makes it safe to repeat.  [default: a new one]")
    ] = None,
    session: SessionFile = None,
    data_dir: DataDir = None,
) -> None:
    """Post a comment. If the product's shard does not answer at once, another one takes it, and it is brought home."""
    chosen = new_id() if comment_id is None else comment_id
    if comment_id is None:
        # Printed before it is used: if the answer is lost, only a repeat under the same id is safe.
        output().progress(f"comment {chosen}")
    posted = call_app(data_dir, lambda app: app.comments.post(sku, customer, text, chosen), session)
    where = f"on {posted.shard}" if posted.at_home else f"taken by {posted.shard}, and on its way home"
    output().result(posted, f"comment {posted.comment_id} on {posted.sku} is {where}")


def thread(
    sku: Sku,
    limit: Limit = LIMIT,
    after: After = None,
    consistency: Following = None,
    session: SessionFile = None,
    data_dir: DataDir = None,
) -> None:
    """Show a product's comments, the oldest first.

    If its shard and the replicas of that do not answer, it shows what this session has posted meanwhile, and says so.
    """
    page = read_app(data_dir, lambda app: app.comments.thread(sku, limit, after, consistency), session, consistency)
    for server in page.missing:
        output().progress(f"{server} does not answer: comments that only it has are not shown")
    rows = table(("at", "customer", "comment", "id"), [_row(each) for each in page.comments], whole=("at", "customer"))
    output().result(page, with_next(table_or(rows, "no comments"), page.next))


def hide(
    sku: Sku,
    comment_id: Annotated[str, typer.Argument(metavar="ID", show_default=False)],
    session: SessionFile = None,
    data_dir: DataDir = None,
) -> None:
    """Leave a comment out of its thread, for ever. Safe to repeat."""
    hidden = call_app(data_dir, lambda app: app.comments.hide(sku, comment_id), session)
    output().result(hidden, f"comment {hidden.comment_id} is hidden" + ("" if hidden.changed else " already"))


def _row(comment: CommentInThread) -> tuple[str, ...]:
    text = comment.text
    if comment.on_its_way_from is not None:
        text += f"  (from {comment.on_its_way_from}, on its way home)"
    return short_timestamp(comment.at), comment.customer_id, text, comment.comment_id
