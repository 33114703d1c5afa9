"""Queries of the read model: lists of orders, one order's details, statements, stock and sales, in pages.

Open `read_model.py` first, then `orders.py`. The projection that fills the tables is `shards.projection`.
"""
