"""Every limit on input, in one place."""

from __future__ import annotations

IDENTIFIER_CHARS_MAX = 100
NAME_CHARS_MAX = 200
CSV_BYTES_MAX = 100_000_000
# The file is streamed: this limits the numbers that are reported, not memory.
TRANSFERS_BYTES_MAX = 10_000_000_000
LINE_BYTES_MAX = 1_000_000
# A line over `LINE_BYTES_MAX` is invalid and skipped. One over this limit is taken as having no end.
LINE_BYTES_SKIPPED_MAX = 100_000_000
ORDER_LINES_MAX = 1_000
BATCH_LINES_MAX = 1_000_000_000
# One transaction of a batch or of a rebuild.
CHUNK_ROWS_MAX = 100_000
QUANTITY_MAX = 1_000_000
AMOUNT_MINOR_UNITS_MAX = 10**15
SECONDS_MAX = 31_536_000
PAGE_ROWS_MAX = 10_000
# Free settings of a customer's profile. The bytes are those of all of them together, as JSON in UTF-8.
SETTINGS_MAX = 50
SETTING_NAME_CHARS_MAX = 64
SETTING_CHARS_MAX = 500
SETTINGS_BYTES_MAX = 8_192
# How long a lease lasts unless it is renewed.
LEASE_SECONDS_MAX = 86_400
LEASE_WAITERS_MAX = 1_000
# The largest of Postgres's whole numbers.
TOKEN_MAX = 2**63 - 1
