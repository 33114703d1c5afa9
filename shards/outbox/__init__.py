"""The outbox: events written in the transaction of their effect, and how consumers read them without a gap.

Open `appending.py` first for the writing side, `slice.py` for the reading side; `following.py` is a consumer's loop.
"""
