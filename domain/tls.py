"""What an address of Postgres may require of TLS: `?ssl=verify-full&sslrootcert=/etc/ssl/our-ca.pem`.

| ssl | what the server must have |
| --- | --- |
| `disable` | nothing: the connection is in clear |
| `prefer` | TLS if the server has it, no certificate is checked (the default) |
| `require` | TLS, no certificate is checked |
| `verify-ca` | a certificate of an authority in `sslrootcert` |
| `verify-full` | and that it is for the host in the address |

Without `sslrootcert` the machine's own authorities are trusted. The words are those of libpq's `sslmode`.
"""

from __future__ import annotations

from collections.abc import Mapping

VERIFYING = frozenset({"verify-ca", "verify-full"})
MODES = frozenset({"disable", "prefer", "require"}) | VERIFYING
PARAMETERS = frozenset({"ssl", "sslrootcert"})


def parameters_fault(parameters: Mapping[str, object]) -> str | None:
    """What is wrong with an address's parameters, or None. Reads no file."""
    if set(parameters) - PARAMETERS:
        # Not shown: if the @ after a password was forgotten, a parameter may contain the password.
        return f"expected no parameter but {' and '.join(sorted(PARAMETERS))}"
    mode = parameters.get("ssl", "prefer")
    if mode not in MODES:
        return f"ssl: expected one of {', '.join(sorted(MODES))}"
    if "sslrootcert" in parameters and mode not in VERIFYING:
        return f"sslrootcert: expected ssl={' or ssl='.join(sorted(VERIFYING))} beside it, else nothing is checked"
    return None
