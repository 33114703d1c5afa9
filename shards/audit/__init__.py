"""The audit behind `shardwise verify`: it checks that all shards, workflows and the read model agree. Changes nothing.

Open `audit.py` first. `local/` has the rules within one shard, `sagas/` those between shards.
"""
