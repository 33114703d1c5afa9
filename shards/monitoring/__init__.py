"""What operators watch: counts of orders and transfers, the lag of consumers, and how the replicas do.

Open `event_lag.py` first.
"""
