"""Reads at or after a point: from a replica, the primary or the read model, whichever is good enough for it.

`shard_reads.py` reads rows of shards, `lists.py` the read model. What is good enough is in `domain.serving`; this room
asks the servers, waits, goes elsewhere, and stamps what was read for the session of the caller.
"""
