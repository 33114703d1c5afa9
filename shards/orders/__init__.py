"""Orders: the lookup row that keeps an id unique, the order's row, its decision, its events, and reads for people.

Open `order_row.py` first, then `decision.py`.
"""
