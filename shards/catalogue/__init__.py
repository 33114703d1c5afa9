"""Customers and products: importing many, opening one account, profiles, renaming.

Open `imports.py` first.
"""
