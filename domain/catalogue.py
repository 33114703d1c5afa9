"""Customers and products as they are imported: one CSV row each, with a hash that distinguishes a repeat from a
conflict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from domain.argument_types import check_type
from domain.content import hash_of_content
from domain.errors import InvalidInput
from domain.identifiers import MERCHANT_PREFIX, check_identifier, refuse_contrast_id, shown
from domain.limits import NAME_CHARS_MAX, QUANTITY_MAX
from domain.money import Money, check_amount, check_currency
from domain.numbers import check_quantity
from domain.text import check_free_text

CUSTOMER_COLUMNS = ("customer_id", "name", "email", "currency", "opening_balance")
PRODUCT_COLUMNS = ("sku", "name", "currency", "unit_price", "stock")


@dataclass(frozen=True, slots=True)
class Customer:
    """Opens one account with the customer's id, in this currency, with this balance.

    `overdraft`: how far below zero the account may go; None: not at all. Files of customers have no column for it.
    """

    customer_id: str
    name: str
    email: str | None
    opening_balance: Money
    overdraft: Money | None = None

    @property
    def content_hash(self) -> str:
        content = [self.name, self.email, str(self.opening_balance)]
        return hash_of_content(content if self.overdraft is None else [*content, str(self.overdraft)])


@dataclass(frozen=True, slots=True)
class Product:
    sku: str
    name: str
    unit_price: Money
    stock: int

    @property
    def content_hash(self) -> str:
        return hash_of_content([self.name, str(self.unit_price), self.stock])


def customer_of_row(row: Mapping[str, str]) -> Customer:
    """`InvalidInput` naming the column and what was expected."""
    return Customer(
        customer_id=_customer_id(row["customer_id"], "customer_id"),
        name=check_name(row["name"], "name"),
        email=check_name(row["email"], "email") if row["email"] else None,
        opening_balance=_amount(row["opening_balance"], check_currency(row["currency"]), "opening_balance"),
    )


def customer_of_account(
    account_id: str, currency: str, balance: str, overdraft: str, name: str | None, email: str | None
) -> Customer:
    """One customer for one account: without a name, the id is the name. `InvalidInput` naming the argument."""
    allowed = _amount(overdraft, check_currency(currency), "overdraft")
    return Customer(
        customer_id=_customer_id(account_id, "account_id"),
        name=account_id if name is None else check_name(name, "name"),
        email=None if email is None else check_name(email, "email"),
        opening_balance=_amount(balance, currency, "balance"),
        overdraft=allowed if allowed.minor > 0 else None,
    )


def product_of_row(row: Mapping[str, str]) -> Product:
    """`InvalidInput` naming the column and what was expected."""
    return Product(
        sku=_sku(row["sku"]),
        name=check_name(row["name"], "name"),
        unit_price=_amount(row["unit_price"], check_currency(row["currency"]), "unit_price"),
        stock=whole_number(row["stock"], "stock", at_least=0),
    )


def check_customer(customer: Customer, for_contrast: bool = False) -> Customer:
    """The rules that hold for any customer, whatever it comes through, or `InvalidInput` naming the field.

    `for_contrast`: the id may be one of `shardwise contrast`.
    """
    check_type(customer, Customer, "customers")
    _customer_id(customer.customer_id, "customer_id", for_contrast)
    check_name(customer.name, "name")
    if customer.email is not None:
        check_name(customer.email, "email")
    check_amount(customer.opening_balance, "opening_balance")
    if customer.overdraft is not None:
        check_amount(customer.overdraft, "overdraft")
        if customer.overdraft.currency != customer.opening_balance.currency:
            raise InvalidInput("overdraft", "overdraft: expected the currency of opening_balance")
    return customer


def check_product(product: Product, for_contrast: bool = False) -> Product:
    """As `check_customer`."""
    check_type(product, Product, "products")
    _sku(product.sku, for_contrast)
    check_name(product.name, "name")
    check_amount(product.unit_price, "unit_price")
    check_quantity(product.stock, "stock", at_least=0)
    return product


def whole_number(text: str, field: str, at_least: int) -> int:
    """A count written in plain digits, from `at_least` to the limit of a quantity."""
    if text.isascii() and text.isdigit() and len(text) <= 10 and at_least <= int(text) <= QUANTITY_MAX:
        return int(text)
    raise InvalidInput(field, f"{field}: expected a whole number from {at_least} to {QUANTITY_MAX}, got {shown(text)}")


def check_name(text: str, field: str) -> str:
    """A customer's or product's name, or an email, as it is, or `InvalidInput` naming `field`."""
    if not isinstance(text, str) or not text.strip() or len(text) > NAME_CHARS_MAX:
        raise InvalidInput(
            field, f"{field}: expected 1 to {NAME_CHARS_MAX} characters, not only blanks, got {shown(text)}"
        )
    return check_free_text(text, field)


def _customer_id(text: str, field: str, for_contrast: bool = False) -> str:
    if check_identifier(text, field).startswith(MERCHANT_PREFIX):
        raise InvalidInput(field, f"{field}: ids that begin with '{MERCHANT_PREFIX}' are the merchants'")
    if not for_contrast:
        refuse_contrast_id(text, field)
    return text


def _sku(text: str, for_contrast: bool = False) -> str:
    check_identifier(text, "sku")
    if not for_contrast:
        refuse_contrast_id(text, "sku")
    return text


def _amount(text: str, currency: str, field: str) -> Money:
    return check_amount(Money.parse(text, currency, field), field)
