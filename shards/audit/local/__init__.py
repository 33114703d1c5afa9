"""Rules that one snapshot of one shard must obey at every instant, each a query for the rows that break it.

Open `rules.py` for what a rule is, then `check.py`, which runs them; each other file has the rules of one check.
"""
