"""Every limit on what comes in, in one place."""

from __future__ import annotations

IDENTIFIER_CHARS_MAX = 100
NAME_CHARS_MAX = 200
CSV_BYTES_MAX = 100_000_000
# It is read in a streaming way: a limit of the numbers that are told, not of memory.
TRANSFERS_BYTES_MAX = 10_000_000_000
LINE_BYTES_MAX = 1_000_000
# A longer line is invalid, and passed over to go on with the next; one without an end is no line.
LINE_BYTES_SKIPPED_MAX = 100_000_000
ORDER_LINES_MAX = 1_000
BATCH_LINES_MAX = 1_000_000_000
# One transaction of a batch or of a rebuild.
CHUNK_ROWS_MAX = 100_000
QUANTITY_MAX = 1_000_000
AMOUNT_MINOR_UNITS_MAX = 10**15
SECONDS_MAX = 31_536_000
PAGE_ROWS_MAX = 10_000
