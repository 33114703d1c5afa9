"""Alembic migrations, one labelled base for each kind of database: `shard`, `catalog`, `read_model`.

Open `env.py` first. The tables that they build are declared in `shards.tables`.
"""
