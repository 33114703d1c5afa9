"""Stock of one shard: levels and prices, goods received, and reservations of sagas.

Open `reservations.py` first.
"""
