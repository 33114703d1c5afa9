"""The servers and workers of one data directory, started and stopped without Docker.

stack          start, stop and query everything
parts          what a Postgres server, the Temporal server and a worker have in common
stack_parts    the parts of one data directory's stack
record, lock   what a data directory remembers, and who may change it
processes      spawn, recognise and end processes
ports          choose loopback ports that stay
server_user    as which user Postgres runs, since it refuses root
binaries       finds the servers' programs
"""
