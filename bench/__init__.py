"""Benchmarks: each module is a program, `python -m bench.<name>`, and compares two variants in one run.

Open `orders.py` first. Quote the ratios, not the figures.
"""
