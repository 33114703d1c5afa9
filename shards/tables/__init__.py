"""Every table of the three kinds of database. Migrations build exactly this; a test compares the two.

What must never be stored is forbidden here, by checks and foreign keys, not only by the code above.
Amounts are minor units (bigint), times are timestamptz from the database's clock.
"""
