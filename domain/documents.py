"""The base of all results that people and programs read, such as `--json` prints: an immutable model."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Document(BaseModel):
    """Frozen; serialized by alias, which is the name that programs read."""

    model_config = ConfigDict(frozen=True, serialize_by_alias=True, defer_build=True)
