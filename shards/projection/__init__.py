"""From the shards' events to the read model. Open `projector.py` first.

An event says which aggregate has changed; the projection reads what it has become: the rows of every aggregate that a
slice of the outbox touches, in the slice's own snapshot on the primary. So many events about one account become one
row, the order of events does not matter, and a rebuild from the tables reads and writes in the same way as the daily
work.

    projector   one slice: reads it, writes it and moves the cursor, in one transaction
    reading     the present rows of aggregates, from a shard
    writing     these rows into one version of the read model
    copying     both, but isolating the one aggregate that cannot be projected
    parked      such aggregates, left aside with their reasons: others call them dead letters
    filling     a shard's tables into a new version, chunk by chunk
    comparable  the columns that a shard and the read model share
    comparing   compares a version with a shard's tables, row by row
    switching   the life of versions: begin, switch, confirm, revert

The versions themselves, `next`, `live` and `retired`, are declared in `shards.tables.versions`.
"""
