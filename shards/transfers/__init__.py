"""Transfers between accounts: the source's row, which decides; the target's admission; two-phase commit; batches.

Open `transfer_row.py` first, then `admissions.py`; `two_phase.py` is the other protocol.
"""
