"""From the shards' events to the read model.

An event says what has changed, the projection reads what it has become: the rows of every aggregate that a slice of
the outbox touches, in the slice's own snapshot on the primary. So a batch of events about one account is one row, no
order of events can lie, and a rebuild from the tables is the same reading and the same writing as the daily work.

    versions   the read model and the ones beside it: next, live, retired
    reading    what aggregates have become, from a shard
    writing    their rows into one version of the read model
    carrying   from one to the other, down to the one aggregate that cannot be
    parked     those, left aside with their reasons
    projector  one batch: a slice read, written, and the cursor moved, in one transaction
    filling    a shard's tables into a version that has just begun, chunk by chunk
    comparing  whether a version says what a shard's tables say, row by row
    switching  the versions' names: begun, switched to, confirmed, reverted
"""
