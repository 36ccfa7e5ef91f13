"""Messages of the role `system` in the middle of a conversation: where they may stand, and what they may change.

Knows effort per turn, and tools added and removed on the way. Must not know how any of it is rendered.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from convcache.emulator.catalog import SYSTEM_MESSAGES, TURN_EFFORT, Model
from convcache.emulator.errors import ApiError
from convcache.emulator.layout import Body, Piece, is_deferred, unseen

Message = Mapping[str, Any]


def check(body: Body, pieces: Sequence[Piece], model: Model) -> None:
    messages = body["messages"]
    if messages[0]["role"] == "system":
        raise ApiError('messages: first message must use the "user" role')
    if not any(message["role"] == "system" for message in messages):
        _check_places(body, pieces)
        return
    if SYSTEM_MESSAGES not in model.can:
        raise ApiError("role 'system' is not supported on this model")
    for index, message in enumerate(messages):
        if message["role"] == "system" and (message.get("output_config") or {}).get("effort"):
            _check_effort(model)
        _check_neighbours(index, message, messages)
    _check_places(body, pieces)
    _check_changes(body, pieces)


def _check_effort(model: Model) -> None:
    if TURN_EFFORT not in model.can:
        raise ApiError(
            "output_config.effort requires a model that supports per-turn effort; this model does not"
        )


def _check_neighbours(index: int, message: Message, messages: Sequence[Message]) -> None:
    if message["role"] != "system":
        return
    before, after = messages[index - 1], messages[index + 1 : index + 2]
    if before["role"] == "assistant" and not _ends_with_server_result(before):
        raise ApiError(
            f"messages.{index}: a system message must follow a user message, or an assistant message that ends "
            "with a server tool result"
        )
    if after and after[0]["role"] == "user":
        raise ApiError(f"messages.{index}: a system message must be last or followed by an assistant message")


def _ends_with_server_result(message: Message) -> bool:
    content = message["content"]
    last = content[-1]["type"] if isinstance(content, list) and content else ""
    return bool(last.endswith("_tool_result") and last != "tool_result")


def _check_places(body: Body, pieces: Sequence[Piece]) -> None:
    for piece in unseen(body["messages"], pieces, "changes of tools"):
        if piece.type in ("tool_addition", "tool_removal") and piece.role != "system":
            raise ApiError(f"{piece.path}: {piece.type} blocks are only permitted in system messages")


def _check_changes(body: Body, pieces: Iterable[Piece]) -> None:
    """A change names a tool that is known by then, and marks it in one place at most."""
    known = set(_names(body.get("tools") or ()))
    known |= {str(server.get("name")) for server in body.get("mcp_servers") or ()}
    for piece in pieces:
        if piece.type not in ("tool_addition", "tool_removal"):
            continue
        tool = piece.block["tool"]
        definition = tool.get("definition") or {}
        if definition.get("cache_control") is not None:
            _check_marks(piece, definition)
        known.update(_names([definition] if definition else []))
        name = tool.get("name") or tool.get("server_name")
        if not definition and name not in known:
            raise ApiError(
                f"{piece.path}.tool: '{name}' is not defined at this point of the conversation",
                details={"error_code": "tool_reference_unresolved"},
            )


def _check_marks(piece: Piece, definition: Mapping[str, Any]) -> None:
    if piece.block.get("cache_control") is not None:
        raise ApiError(
            f"{piece.path}: cache_control may be set on the tool_addition block or in its definition, not on both"
        )
    if is_deferred(definition):
        raise ApiError(
            f"Tool '{definition.get('name')}' cannot have both defer_loading=true and cache_control set. "
            "Tools with defer_loading cannot use prompt caching."
        )


def _names(tools: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The names under which tools can be referred to; a toolset has its server's."""
    for tool in tools:
        yield str(tool.get("name") or tool.get("mcp_server_name") or tool.get("type"))
