"""Reads at each level, from replicas that are more or less behind, beside the usual session cache; how replicas share
the reads; and orders with replicas beside orders without. In one run, on servers of its own.

    python -m bench.reads [--seconds 5] [--rounds 2] [--spread 10000] [--processes 300] [--orders 200]
        [--write docs/consistency]

`mix.py` has what users do, `levels.py` measures it, `documents.py` is what comes out. Quote the ratios.
"""
