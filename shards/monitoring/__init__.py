"""What operators watch: counts of orders and transfers, the lag of consumers, and what vacuum cannot remove.

Open `event_lag.py` first.
"""
