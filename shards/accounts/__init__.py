"""Accounts: their holds, the double-entry ledger, and their states open, frozen and closed.

Open `ledger.py` first for how money moves, then `holds.py`.
"""
