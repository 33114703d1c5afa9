"""Files of orders on the sample of tests/data, as `import orders` reads them."""

from __future__ import annotations

import json
from pathlib import Path


def write_orders(file: Path, prefix: str, count: int) -> Path:
    """Some of them are confirmed, others refused for want of money or of goods."""
    orders = [
        {
            "order_id": f"{prefix}-{number}",
            "customer_id": "rich" if number % 5 else "poor",
            "currency": "USD",
            "lines": [{"sku": "APPLE", "quantity": 1}, {"sku": "LAMP" if number % 3 else "CHAIR", "quantity": 1}],
        }
        for number in range(count)
    ]
    file.write_text("\n".join(map(json.dumps, orders)))
    return file
