"""Comments on products: taken by any shard that answers (`taking.py`), brought home by the relay (`homing.py`), and
read as one thread (`thread.py`)."""
