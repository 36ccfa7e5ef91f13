"""`GET /v1/models`: the catalogue as the API lists it.

Knows how a model is told. Must not know the cache.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from convcache.emulator.catalog import MODELS, Model, find_model
from convcache.emulator.errors import ApiError

_EPOCH = "1970-01-01T00:00:00Z"


def listed() -> Mapping[str, Any]:
    data = [told(model) for model in MODELS]
    return {"data": data, "has_more": False, "first_id": data[0]["id"], "last_id": data[-1]["id"]}


def one(id_: str) -> Mapping[str, Any]:
    model = find_model(id_)
    if model is None:
        raise ApiError(f"model: {id_}", status=404)
    return told(model)


def told(model: Model) -> Mapping[str, Any]:
    return {
        "type": "model",
        "id": model.id,
        "display_name": model.display_name,
        "created_at": _created_at(model),
        "lifecycle": "active",
    }


def _created_at(model: Model) -> str:
    """The date in a snapshot's id; the epoch stands for unknown."""
    date = (model.dated or "").rsplit("-", 1)[-1]
    if not date:
        return _EPOCH
    return datetime.strptime(date, "%Y%m%d").replace(tzinfo=UTC).isoformat().replace("+00:00", "Z")
