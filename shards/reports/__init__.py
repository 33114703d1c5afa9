"""Reports over all shards: each is asked for its part, and the parts are put together here."""
