"""All SQL, in rooms: each imports only from those below it (the `layers` contract in `pyproject.toml`).

From the bottom up: tables, connections, routing, outbox, sagas, accounts and stock, catalogue, orders and transfers,
projection and read_model, monitoring, audit. Open `routing/router.py` first.
"""
