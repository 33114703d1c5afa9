"""The servers and workers of one data directory, started and stopped without Docker.

stack          start, stop and ask everything
parts          what a Postgres server, the Temporal server and a worker have in common
record, lock   what a data directory remembers, and who may change it
processes      spawn, recognise and end processes
ports          choose loopback ports that stay
server_user    under whose name Postgres runs, which refuses root
binaries       where the servers' programs are
"""
