"""What a user of the command line sees of profiles and renames. The stack is the whole session's: these names are ours
alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.command import Shardwise


def refused(shardwise: Shardwise, exit_code: int, *arguments: str) -> dict[str, Any]:
    answer = shardwise.inside(*arguments)
    assert answer.exit_code == exit_code, answer
    error: dict[str, Any] = answer.document["error"]
    return error


def test_a_customer_is_renamed_once_however_often_it_is_typed(shardwise: Shardwise) -> None:
    opening = ("account", "open", "ren-ada", "--currency", "USD", "--name", "Ada", "--balance", "5.00")
    assert shardwise.inside(*opening).exit_code == 0
    rename = ("customer", "rename", "ren-ada", "--name", "Ada King", "--email", "ada@example.org")
    first, second = shardwise.inside(*rename), shardwise.inside(*rename)
    assert (first.exit_code, second.exit_code) == (0, 0)
    shard = shardwise.inside("account", "show", "ren-ada").document["shard"]
    named = {"customer_id": "ren-ada", "name": "Ada King", "email": "ada@example.org", "version": 2, "shard": shard}
    assert first.document == {**named, "changed": True}
    assert second.document == {**named, "changed": False}
    # What opened the account is still the same.
    assert shardwise.inside(*opening).exit_code == 0


def test_a_profile_is_set_shown_and_followed(shardwise: Shardwise, tmp_path: Path) -> None:
    session = ("--session", str(tmp_path / "me.session"))
    assert shardwise.inside("account", "open", "prof-ada", "--currency", "USD", "--balance", "5.00").exit_code == 0
    change = ("profile", "set", "prof-ada", "--email", "ada@example.org", "--city", "London")
    change += ("--set", "theme=dark", "--set", "motto=a=b", *session)
    first, second = shardwise.inside(*change), shardwise.inside(*change)
    assert (first.document["version"], first.document["changed"]) == (2, True)
    assert second.document == {**first.document, "changed": False}
    shown = shardwise.inside("profile", "show", "prof-ada", *session)
    assert shown.document["read"]["level"] == "read-your-writes"
    shard = shardwise.inside("account", "show", "prof-ada").document["shard"]
    assert shown.content == {
        "customer_id": "prof-ada",
        "name": "prof-ada",
        "email": "ada@example.org",
        "address": None,
        "city": "London",
        "postal_code": None,
        "country": None,
        "settings": {"motto": "a=b", "theme": "dark"},
        "version": 2,
        "shard": shard,
    }
    # A rename is a change of the same profile.
    renamed = shardwise.inside("customer", "rename", "prof-ada", "--name", "Ada King").document
    assert (renamed["version"], renamed["email"]) == (3, "ada@example.org")
    back = ("profile", "set", "prof-ada", "--name", "prof-ada", "--clear", "email", "--clear", "city")
    left = shardwise.inside(*back, "--unset", "theme", "--unset", "motto").document
    assert (left["email"], left["city"], left["settings"], left["version"]) == (None, None, {}, 4)
    assert shardwise.inside("verify").document["ok"] is True


def test_a_product_is_renamed_and_its_file_is_still_the_same(shardwise: Shardwise, tmp_path: Path) -> None:
    file = tmp_path / "products.csv"
    file.write_text("sku,name,currency,unit_price,stock\nREN-TEA,Tea,USD,1.00,5\n")
    assert shardwise.inside("import", "products", str(file)).document["imported"] == 1
    renamed = shardwise.inside("product", "rename", "REN-TEA", "--name", "Tea, green").document
    assert (renamed["name"], renamed["version"], renamed["changed"]) == ("Tea, green", 2, True)
    assert shardwise.inside("import", "products", str(file)).document["unchanged"] == 1
    assert not shardwise.inside("product", "rename", "REN-TEA", "--name", "Tea, green").document["changed"]
    file.write_text(file.read_text().replace(",Tea,", ',"Tea, green",'))
    assert refused(shardwise, 1, "import", "products", str(file))["code"] == "id_conflict"


def test_the_renamed_order_and_pay_as_before(shardwise: Shardwise, tmp_path: Path) -> None:
    file = tmp_path / "products.csv"
    file.write_text("sku,name,currency,unit_price,stock\nREN-CUP,Cup,USD,1.00,5\n")
    assert shardwise.inside("import", "products", str(file)).exit_code == 0
    opening = ("account", "open", "ren-bob", "--currency", "USD", "--balance", "5.00")
    assert shardwise.inside(*opening).exit_code == 0
    assert shardwise.inside("customer", "rename", "ren-bob", "--name", "Bob").exit_code == 0
    assert shardwise.inside("product", "rename", "REN-CUP", "--name", "Cup, blue").exit_code == 0
    order = shardwise.inside("order", "place", "--customer", "ren-bob", "--line", "REN-CUP:2").document
    assert (order["status"], order["total"]) == ("confirmed", "2.00")
    assert shardwise.inside("verify").document["ok"] is True


def test_an_unknown_customer_or_product_is_not_renamed(shardwise: Shardwise) -> None:
    error = refused(shardwise, 1, "customer", "rename", "ren-nobody", "--name", "Ada")
    assert (error["code"], error["field"]) == ("unknown_customer", "customer_id")
    error = refused(shardwise, 1, "product", "rename", "REN-NOTHING", "--name", "Tea")
    assert (error["code"], error["field"]) == ("unknown_sku", "sku")


def test_without_a_stack_nothing_is_renamed(tmp_path: Path) -> None:
    nowhere = Shardwise(tmp_path)
    assert refused(nowhere, 3, "profile", "show", "a")["code"] == "no_stack"
    for command in (("customer", "rename", "a", "--name", "A"), ("product", "rename", "a", "--name", "A")):
        assert refused(nowhere, 3, *command)["code"] == "no_stack"
