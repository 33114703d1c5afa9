"""Batches of transfers: a file's lines are staged, admitted, decided and debited, and credited, thousands at a time.

Open `deciding.py` first: it decides.
"""
