"""Leases and their fences: who may do something alone for a limited time, and that nobody writes under an old grant.

Open `lease_rows.py` first: it decides. `fence.py` is what makes a lease safe.
"""
