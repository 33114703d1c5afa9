"""From a key to a transaction on the shard that owns it: the cached shard map, the fence, and the transactions.

Open `router.py` first, then `shard_transaction.py`.
"""
