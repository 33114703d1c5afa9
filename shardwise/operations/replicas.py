"""How the replicas do. Declared in `shards.monitoring.replicas`."""

from __future__ import annotations

from shards.monitoring.replicas import ReplicaDocument, replica_documents

__all__ = ["ReplicaDocument", "replica_documents"]
