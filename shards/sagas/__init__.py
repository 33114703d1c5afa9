"""The barrier, which makes each step of a saga take effect at most once, and what a shard keeps of a saga.

Open `barrier.py` first.
"""
