"""What a user of the command line sees of accounts. The stack is the whole session's: these accounts are ours alone."""

from __future__ import annotations

from pathlib import Path

from tests.support.command import Shardwise

OPEN = ("account", "open")


def refused(shardwise: Shardwise, *arguments: str) -> tuple[str, str]:
    """(code, message) of a command that a rule refuses."""
    answer = shardwise.inside(*arguments)
    assert answer.exit_code == 1, answer
    error = answer.document["error"]
    assert error["field"] == "account_id"
    return error["code"], error["message"]


def test_an_account_is_opened_once_and_shown(shardwise: Shardwise) -> None:
    details = ("--name", "Grace Hopper", "--email", "grace@example.org", "--balance", "12.50", "--overdraft", "5")
    opened = shardwise.inside(*OPEN, "acc-grace", "--currency", "EUR", *details)
    assert opened.exit_code == 0, opened
    expected = {
        "account_id": "acc-grace",
        "currency": "EUR",
        "balance": "12.50",
        "held": "0.00",
        "overdraft": "5.00",
        "available": "17.50",
        "state": "open",
    }
    assert {name: opened.document[name] for name in expected} == expected
    for again in ((*OPEN, "acc-grace", "--currency", "EUR", *details), ("account", "show", "acc-grace")):
        assert shardwise.inside(*again).content == opened.document
    code, message = refused(shardwise, *OPEN, "acc-grace", "--currency", "EUR")
    assert code == "id_conflict"
    assert "acc-grace" in message
    assert shardwise.inside("account", "show", "acc-grace").content == opened.document


def test_opening_and_importing_are_the_same_thing(shardwise: Shardwise, tmp_path: Path) -> None:
    assert shardwise.inside(*OPEN, "acc-both", "--currency", "USD", "--balance", "1").exit_code == 0
    file = tmp_path / "customers.csv"
    header = "customer_id,name,email,currency,opening_balance"
    file.write_text(f"{header}\nacc-both,acc-both,,USD,1.00\nacc-imported,Imported,,USD,2.00\n")
    imported = shardwise.inside("import", "customers", str(file)).document
    assert (imported["imported"], imported["unchanged"]) == (1, 1)
    same = (*OPEN, "acc-imported", "--currency", "USD", "--name", "Imported", "--balance", "2.00", "--overdraft", "0")
    assert shardwise.inside(*same).document["balance"] == "2.00"


def test_a_frozen_account_orders_nothing_until_it_is_thawed(shardwise: Shardwise) -> None:
    place = ("order", "place", "--customer", "acc-frozen", "--line", "APPLE:1")
    assert shardwise.inside(*OPEN, "acc-frozen", "--currency", "USD", "--balance", "10.00").exit_code == 0
    for _ in range(2):
        assert shardwise.inside("account", "freeze", "acc-frozen").document["state"] == "frozen"
    order = shardwise.inside(*place).document
    assert (order["status"], order["reason"]) == ("rejected", "account_not_open")
    for _ in range(2):
        assert shardwise.inside("account", "unfreeze", "acc-frozen").document["state"] == "open"
    assert shardwise.inside(*place).document["status"] == "confirmed"


def test_an_account_is_closed_when_it_is_empty_and_for_ever(shardwise: Shardwise) -> None:
    opening = (*OPEN, "acc-closed", "--currency", "USD", "--balance", "0.00")
    assert shardwise.inside(*opening).exit_code == 0
    for _ in range(2):
        closed = shardwise.inside("account", "close", "acc-closed")
        assert (closed.exit_code, closed.document["state"]) == (0, "closed")
    for again in (("account", "freeze", "acc-closed"), ("account", "unfreeze", "acc-closed"), opening):
        assert refused(shardwise, *again)[0] == "account_closed"
    assert shardwise.inside("account", "show", "acc-closed").content == closed.document


def test_the_reason_why_an_account_cannot_be_closed_is_reported(shardwise: Shardwise) -> None:
    assert shardwise.inside(*OPEN, "acc-full", "--currency", "USD", "--balance", "7.00").exit_code == 0
    code, message = refused(shardwise, "account", "close", "acc-full")
    assert (code, "7.00 USD" in message) == ("account_not_empty", True)
    place = ("order", "place", "--customer", "acc-full", "--line", "APPLE:1", "--id", "acc-regretted", "--wait", "1")
    assert shardwise.inside(*place, cancellation_window_seconds="600").exit_code == 3
    assert refused(shardwise, "account", "close", "acc-full")[0] == "account_has_holds"
    assert shardwise.inside("order", "cancel", "acc-regretted").exit_code == 0
    assert refused(shardwise, "account", "close", "merchant.USD")[0] == "merchant_account"


def test_a_statement_shows_the_newest_movements_with_their_balances(shardwise: Shardwise) -> None:
    assert shardwise.inside(*OPEN, "acc-statement", "--currency", "USD", "--balance", "10.00").exit_code == 0
    for number in (1, 2):
        place = (
            "order",
            "place",
            "--customer",
            "acc-statement",
            "--line",
            "APPLE:1@0.75",
            "--id",
            f"acc-statement-{number}",
        )
        assert shardwise.inside(*place).exit_code == 0
    statement = shardwise.once(lambda found: len(found["movements"]) == 3, "account", "statement", "acc-statement")
    assert (statement["account_id"], statement["currency"], statement["balance"]) == ("acc-statement", "USD", "8.50")
    columns = ("kind", "saga_id", "amount", "balance_after", "other_side")
    assert [tuple(line[column] for column in columns) for line in statement["movements"]] == [
        ("capture", "order/acc-statement-2", "-0.75", "8.50", "merchant.USD"),
        ("capture", "order/acc-statement-1", "-0.75", "9.25", "merchant.USD"),
        ("opening", "opening/acc-statement", "10.00", "10.00", "equity/USD"),
    ]
    newest = shardwise.inside("account", "statement", "acc-statement", "--limit", "1").document
    assert newest["movements"] == statement["movements"][:1]


def test_an_account_that_nobody_opened_is_reported_by_its_id(shardwise: Shardwise) -> None:
    for command in ("show", "freeze", "unfreeze", "close"):
        assert refused(shardwise, "account", command, "acc-nobody") == (
            "unknown_account",
            "there is no account acc-nobody",
        )
    code, message = refused(shardwise, "account", "statement", "acc-nobody")
    assert (code, "account acc-nobody" in message) == ("unknown_account", True)


def test_without_a_stack_accounts_are_not_reachable(tmp_path: Path) -> None:
    nowhere = Shardwise(tmp_path)
    for command in (("freeze", "a"), ("statement", "a"), ("open", "a", "--currency", "USD")):
        answer = nowhere.inside("account", *command)
        assert answer.exit_code == 3, answer
        assert answer.document["error"]["message"]


def test_the_books_agree_with_accounts_opened_frozen_and_closed(shardwise: Shardwise) -> None:
    assert shardwise.inside("verify").document["ok"] is True
