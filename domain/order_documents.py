"""An order as a JSON document: what `import orders` reads, one a line.

`{"order_id", "customer_id", "currency", "lines": [{"sku", "quantity", "unit_price"?}], "ordered_on"?, "ship_to"?}`
Amounts are decimal strings; any field of `ship_to` may be null.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError

from domain.errors import InvalidInput
from domain.json_text import first_fault, parse_json
from domain.limits import LINE_BYTES_MAX
from domain.money import Money, check_currency
from domain.orders import Address, Order, OrderLine, check_line, check_order, merge_lines
from domain.timestamps import Day


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _LineDocument(_Document):
    sku: str
    quantity: int
    unit_price: str | None = None


class _AddressDocument(_Document):
    name: str | None = None
    address: str | None = None
    city: str | None = None
    postal_code: str | None = None
    country: str | None = None


class _OrderDocument(_Document):
    order_id: str
    customer_id: str
    currency: str
    lines: list[_LineDocument]
    ordered_on: Day | None = None
    ship_to: _AddressDocument | None = None


def parse_order(line: str | bytes) -> Order:
    """The order written in one line of JSON, or `InvalidInput` naming the field and what was expected."""
    size = len(line) if isinstance(line, bytes) else len(line.encode("utf-8", "surrogatepass"))
    if size > LINE_BYTES_MAX:
        raise InvalidInput(None, f"expected a line of at most {LINE_BYTES_MAX} bytes")
    try:
        document = _OrderDocument.model_validate_json(line)
    except ValidationError as error:
        raise first_fault(error) from None
    parse_json(line)  # After pydantic, which is silent about a repeated field and keeps the last.
    return _order_of(document)


def _order_of(document: _OrderDocument) -> Order:
    currency = check_currency(document.currency)
    ship_to = document.ship_to
    # Checked before they are merged, so that an error names the line of the document.
    lines = [check_line(_line_of(n, line, currency), currency, f"lines.{n}") for n, line in enumerate(document.lines)]
    return check_order(
        Order(
            order_id=document.order_id,
            customer_id=document.customer_id,
            currency=currency,
            lines=merge_lines(lines),
            ordered_on=document.ordered_on,
            ship_to=Address(**ship_to.model_dump()) if ship_to else None,
        )
    )


def _line_of(n: int, line: _LineDocument, currency: str) -> OrderLine:
    price = None if line.unit_price is None else Money.parse(line.unit_price, currency, f"lines.{n}.unit_price")
    return OrderLine(line.sku, line.quantity, price)
