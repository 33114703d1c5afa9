"""An order as a JSON document: what `import orders` reads, one a line.

`{"order_id", "customer_id", "currency", "lines": [{"sku", "quantity", "unit_price"?}], "ordered_on"?, "ship_to"?}`
Amounts are decimal strings; any field of `ship_to` may be null.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from domain.errors import InvalidInput
from domain.identifiers import check_identifier, shown
from domain.json_text import parse_json
from domain.limits import IDENTIFIER_CHARS_MAX, LINE_BYTES_MAX, NAME_CHARS_MAX, QUANTITY_MAX
from domain.money import Money, check_currency
from domain.orders import Address, Order, OrderLine, check_order, merge_lines
from domain.text import check_text

_Text = Annotated[str, Field(max_length=NAME_CHARS_MAX), AfterValidator(check_text)]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _LineDocument(_Document):
    sku: str
    quantity: Annotated[int, Field(ge=1, le=QUANTITY_MAX)]
    unit_price: str | None = None


class _AddressDocument(_Document):
    name: _Text | None = None
    address: _Text | None = None
    city: _Text | None = None
    postal_code: _Text | None = None
    country: _Text | None = None


class _OrderDocument(_Document):
    order_id: str
    customer_id: str
    currency: str
    lines: list[_LineDocument]
    ordered_on: date | None = None
    ship_to: _AddressDocument | None = None


def parse_order(line: str | bytes) -> Order:
    """The order written in one line of JSON, or `InvalidInput` naming the field and what was expected."""
    size = len(line) if isinstance(line, bytes) else len(line.encode("utf-8", "surrogatepass"))
    if size > LINE_BYTES_MAX:
        raise InvalidInput(None, f"expected a line of at most {LINE_BYTES_MAX} bytes")
    try:
        document = _OrderDocument.model_validate_json(line)
    except ValidationError as error:
        raise _first_fault(error) from None
    parse_json(line)  # After pydantic, which is silent about a repeated field and keeps the last.
    return _order_of(document)


def _order_of(document: _OrderDocument) -> Order:
    currency = check_currency(document.currency)
    ship_to = document.ship_to
    return check_order(
        Order(
            order_id=check_identifier(document.order_id, "order_id"),
            customer_id=check_identifier(document.customer_id, "customer_id"),
            currency=currency,
            lines=merge_lines([_line_of(n, line, currency) for n, line in enumerate(document.lines)]),
            ordered_on=document.ordered_on,
            ship_to=Address(**ship_to.model_dump()) if ship_to else None,
        )
    )


def _line_of(n: int, line: _LineDocument, currency: str) -> OrderLine:
    price = None
    if line.unit_price is not None:
        price = check_price(Money.parse(line.unit_price, currency, f"lines.{n}.unit_price"), f"lines.{n}.unit_price")
    return OrderLine(check_identifier(line.sku, f"lines.{n}.sku"), line.quantity, price)


def check_price(price: Money, field: str) -> Money:
    """Prices are zero or more: a negative one would pay the customer."""
    if price.minor < 0:
        raise InvalidInput(field, f"{field}: expected zero or more, got {price.amount}")
    return price


def _first_fault(error: ValidationError) -> InvalidInput:
    """pydantic's first complaint as ours; the others would mostly be its consequences."""
    fault = error.errors(include_url=False)[0]
    field = ".".join(_printable(part) for part in fault["loc"]) or None
    explained = {"missing", "json_invalid", "value_error"}  # their message already says what was found
    wrong = "" if fault["type"] in explained else f", got {shown(fault['input'])}"
    message = str(fault["ctx"]["error"]) if fault["type"] == "value_error" else fault["msg"]
    message = message[0].lower() + message[1:].replace("at line 1 column", "at column")
    return InvalidInput(field, f"{field}: {message}{wrong}" if field else f"{message}{wrong}")


def _printable(part: str | int) -> str:
    """The name of an unknown field is whatever somebody wrote."""
    text = str(part)
    return text if text.isidentifier() and len(text) <= IDENTIFIER_CHARS_MAX else shown(part)
