"""What everybody is shown, and what `--json` prints: a model that nobody changes."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Document(BaseModel):
    """Frozen; dumped by the names that programs read."""

    model_config = ConfigDict(frozen=True, serialize_by_alias=True, defer_build=True)
