"""Every table of the three kinds of database. Migrations build exactly these; a test compares the two.

Open `shard.py` first. Data that must never be stored is forbidden here, by checks and foreign keys, and not only by
code. Amounts are minor units (bigint); times are timestamptz by the database's clock.
"""
