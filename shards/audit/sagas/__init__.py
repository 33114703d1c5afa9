"""Checks of one saga across the shards: its facts are gathered from all shards, then judged.

Open `facts.py` first, then `gathering.py` and `judgement.py`.
"""
