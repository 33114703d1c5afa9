"""Connections to Postgres: pools with time limits and a circuit breaker, LISTEN/NOTIFY, TLS, and errors of our own.

Open `database.py` first, then `shard.py` and `cluster.py`; `replica.py` and `replica_state.py` are about replicas.
"""
