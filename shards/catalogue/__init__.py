"""Customers and products: importing many, opening one account, renaming.

Open `imports.py` first.
"""
