"""`profile show | set`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

from cli.terminal.application import call_app, read_app
from cli.terminal.options import DataDir, Following, SessionFile
from cli.terminal.output import output, table
from domain.errors import InvalidInput
from domain.identifiers import shown
from shardwise.profiles import OptionalField, Profile

Customer = Annotated[str, typer.Argument(metavar="CUSTOMER", show_default=False)]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Profiles of customers: name, email, address, settings.", no_args_is_help=True)
    group.command()(show)
    group.command("set")(change)
    app.add_typer(group, name="profile")


def show(
    customer: Customer, consistency: Following = None, session: SessionFile = None, data_dir: DataDir = None
) -> None:
    """Show a customer's profile, from a replica of its shard if there is one that is new enough."""
    _print(read_app(data_dir, lambda app: app.profiles.show(customer, consistency), session, consistency))


def change(
    customer: Customer,
    name: Annotated[str | None, typer.Option(help="Each of these: the new one.  [default: it stays]")] = None,
    email: Annotated[str | None, typer.Option()] = None,
    address: Annotated[str | None, typer.Option(help="What comes before the city.")] = None,
    city: Annotated[str | None, typer.Option()] = None,
    postal_code: Annotated[str | None, typer.Option()] = None,
    country: Annotated[str | None, typer.Option()] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting; may be given several times.")
    ] = None,
    unset: Annotated[list[str] | None, typer.Option(metavar="KEY", help="Remove this setting.")] = None,
    clear: Annotated[list[OptionalField] | None, typer.Option(help="Remove this field.")] = None,
    session: SessionFile = None,
    data_dir: DataDir = None,
) -> None:
    """Change a customer's profile, all that is given at once. Safe to repeat; undone by setting it back.

    An import goes on comparing with what the customer was first imported with.
    """
    wanted = _settings(settings or (), unset or ())
    changed = call_app(
        data_dir,
        lambda app: app.profiles.set(customer, name, email, address, city, postal_code, country, wanted, clear or ()),
        session,
    )
    _print(changed)


def _settings(given: Iterable[str], unset: Iterable[str]) -> dict[str, str | None]:
    """Each once, whether it is set or removed: of two values nobody can tell which was meant."""
    found: dict[str, str | None] = {}
    for each in given:
        key, is_set, value = each.partition("=")
        if not is_set or key in found:
            raise InvalidInput("set", f"set: expected KEY=VALUE, each key once, got {shown(each)}")
        found[key] = value
    for key in unset:
        if key in found:
            raise InvalidInput("unset", f"unset: expected a key that occurs only once, got {shown(key)}")
        found[key] = None
    return found


def _print(profile: Profile) -> None:
    fields = ("name", "email", "address", "city", "postal_code", "country")
    rows = [(name.replace("_", " "), getattr(profile, name) or "") for name in fields]
    rows += [(f"set {name}", value) for name, value in profile.settings.items()]
    title = f"customer {profile.customer_id}, version {profile.version}, on {profile.shard}"
    output().result(profile, table(("field", "value"), rows, title))
