"""What one model or one version of the API refuses and others do not.

Knows the catalogue's abilities and the texts. Must not know messages of the role `system`; they have their own module.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from convcache.emulator.catalog import (
    BETWEEN_TOOLS,
    FORCED_TOOLS,
    NOT_THINKING,
    PREFILL,
    SAMPLING,
    Model,
)
from convcache.emulator.errors import ApiError
from convcache.emulator.layout import Body, Piece, unseen

VERSION_2026_10: Final = "2026-10-21"
"""The version of the API that dropped documents in answers, citations in what users say, and sampling."""
_DEFAULTS: Final[Mapping[str, tuple[Any, ...]]] = {"temperature": (1,), "top_p": (1,), "top_k": ()}
_LOW_ENOUGH: Final = ("low", "medium", "high")
_LEAST_BUDGET: Final = 1024


def check(body: Body, pieces: Sequence[Piece], model: Model, version: str) -> None:
    _check_sampling(body, model, version)
    _check_thinking(body, model)
    _check_effort(body, model)
    _check_tool_choice(body, model)
    _check_prefill(body["messages"][-1], model)
    if version >= VERSION_2026_10:
        _check_places(body, pieces)


def _check_sampling(body: Body, model: Model, version: str) -> None:
    """Newer models know no sampling; spoken to in an older version, they put up with the default."""
    for name, defaults in _DEFAULTS.items():
        value = body.get(name)
        if value is None or SAMPLING in model.can or (value in defaults and version < VERSION_2026_10):
            continue
        raise ApiError(f"`{name}` is deprecated for this model.")


def _check_thinking(body: Body, model: Model) -> None:
    thinking = body.get("thinking") or {}
    match thinking.get("type"):
        case "disabled" if NOT_THINKING not in model.can:
            raise ApiError("thinking.type: 'disabled' is not supported on this model")
        case "between_tools" if BETWEEN_TOOLS not in model.can:
            raise ApiError("thinking.type: 'between_tools' is not supported on this model")
        case "between_tools" if _effort(body, model) not in _LOW_ENOUGH:
            raise ApiError("thinking.type: 'between_tools' requires an effort of 'high' or below")
        case "enabled" if thinking["budget_tokens"] < _LEAST_BUDGET:
            least = f"Input should be greater than or equal to {_LEAST_BUDGET}"
            raise ApiError(f"thinking.enabled.budget_tokens: {least}")


def _check_effort(body: Body, model: Model) -> None:
    effort = _effort(body, model)
    if effort not in model.efforts:
        supported = ", ".join(sorted(model.efforts))
        raise ApiError(f"This model does not support effort level '{effort}'. Supported levels: {supported}.")


def _effort(body: Body, model: Model) -> str:
    return (body.get("output_config") or {}).get("effort") or model.default_effort


def _check_tool_choice(body: Body, model: Model) -> None:
    choice = (body.get("tool_choice") or {}).get("type")
    if choice in ("any", "tool") and FORCED_TOOLS not in model.can:
        raise ApiError(f"tool_choice: type '{choice}' is not supported on this model")


def _check_prefill(last: Mapping[str, Any], model: Model) -> None:
    """A conversation may end with an answer only for the model to go on: after its own tools, or where it can."""
    if last["role"] != "assistant" or _waits_for_server(last["content"]):
        return
    if PREFILL not in model.can:
        raise ApiError(
            "This model does not support assistant message prefill. The conversation must end with a user message."
        )
    text = last["content"] if isinstance(last["content"], str) else _last_text(last["content"])
    if text != text.rstrip():
        raise ApiError("messages: final assistant content cannot end with trailing whitespace")


def _waits_for_server(content: Any) -> bool:
    """Whether an answer was paused: it used the server's tools, or holds nothing but a summary."""
    types = [block["type"] for block in content] if isinstance(content, list) else []
    return "server_tool_use" in types or "mcp_tool_use" in types or types[-1:] == ["compaction"]


def _last_text(content: Any) -> str:
    return str(content[-1]["text"]) if content and content[-1]["type"] == "text" else ""


def _check_places(body: Body, pieces: Sequence[Piece]) -> None:
    for piece in unseen(body["messages"], pieces, "places since 2026-10"):
        if piece.type == "document" and piece.role == "assistant":
            raise ApiError(f"{piece.path}: document blocks are not permitted in assistant messages")
        if piece.type == "text" and piece.role == "user" and piece.block.get("citations"):
            raise ApiError(f"{piece.path}.text.citations: citations are not permitted in user messages")
