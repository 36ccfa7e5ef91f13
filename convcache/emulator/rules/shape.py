"""The form of a request: required fields, types, fields that do not belong, text that must not be empty.

Knows block types and their fields, as tables. Must not know breakpoints' order or count, nor tools' pairing.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from convcache.emulator.errors import ApiError
from convcache.emulator.layout import Body, Piece
from convcache.emulator.marks import UNMARKABLE

_ROLES: Final = ("user", "assistant", "system")

_KIND: Final = {str: "string", list: "list", dict: "dictionary", int: "integer"}

_FIELDS: Final[Mapping[str, Mapping[str, type]]] = {
    "text": {"text": str},
    "image": {"source": dict},
    "document": {"source": dict},
    "search_result": {"content": list, "source": str, "title": str},
    "thinking": {"thinking": str, "signature": str},
    "redacted_thinking": {"data": str},
    "tool_use": {"id": str, "input": dict, "name": str},
    "tool_result": {"tool_use_id": str},
    "server_tool_use": {"id": str, "input": dict, "name": str},
    "web_search_tool_result": {"tool_use_id": str},
    "web_fetch_tool_result": {"tool_use_id": str},
    "code_execution_tool_result": {"tool_use_id": str},
    "bash_code_execution_tool_result": {"tool_use_id": str},
    "text_editor_code_execution_tool_result": {"tool_use_id": str},
    "tool_search_tool_result": {"tool_use_id": str},
    "tool_reference": {"tool_name": str},
    "container_upload": {"file_id": str},
    "browser_state": {},
    "mcp_tool_use": {"id": str, "input": dict, "name": str},
    "mcp_tool_result": {"tool_use_id": str},
    "mcp_tool_listing": {},
    "advisor_tool_result": {"tool_use_id": str},
    "compaction": {},
    "fallback": {},
    "tool_addition": {},
    "tool_removal": {},
}
"""Every block type, with the fields it cannot do without."""

_ONLY: Final = {
    "thinking": frozenset({"type", "thinking", "signature"}),
    "redacted_thinking": frozenset({"type", "data"}),
}
"""Block types that allow no other field."""


_TAGS: Final = {
    "thinking": ("enabled", "adaptive", "between_tools", "disabled"),
    "tool_choice": ("auto", "any", "tool", "none"),
}
"""Parameters that come in several types."""


def checked(body: object, *, counting: bool) -> Body:
    """The body, if every part is of the type it has to be."""
    if not isinstance(body, dict):
        raise ApiError("The request body is not a valid JSON object.")
    _needs(body, "model", str)
    _needs(body, "messages", list)
    if not counting:
        _needs(body, "max_tokens", int)
        if body["max_tokens"] < 0:
            raise ApiError("max_tokens: Input should be greater than or equal to 0")
    _check_mark("", body)
    for key in ("thinking", "tool_choice", "output_config", "metadata"):
        _may(body, key, dict)
    for key, tags in _TAGS.items():
        if body.get(key) is not None:
            _check_tag(body[key], key, tags)
    _check_tools(body)
    _check_content(body.get("system"), "system")
    _check_messages(body["messages"])
    return body


def check_extras(body: Body, pieces: Iterable[Piece]) -> None:
    """Fields where their schema has no room for them."""
    for index, message in enumerate(body["messages"]):
        if "cache_control" in message:
            raise _extra(f"messages.{index}.cache_control")
    for piece in pieces:
        for key in sorted(piece.block.keys() - _ONLY.get(piece.type, piece.block.keys())):
            raise _extra(f"{piece.path}.{piece.type}.{key}")
        if piece.type in UNMARKABLE and "cache_control" in piece.block:
            raise _extra(f"{piece.path}.{piece.type}.cache_control")


def check_texts(pieces: Iterable[Piece]) -> None:
    """No text block may be empty, nor hold nothing but white space; a marked one is told so first.

    The API was recorded taking back white space that a model had said before it called a tool.
    """
    for piece in pieces:
        for path, block in _texts(piece):
            text = block["text"]
            if not text and block.get("cache_control") is not None:
                raise ApiError(f"{path}.text: cache_control cannot be set for empty text blocks")
            if not text:
                raise ApiError(f"{piece.section}: text content blocks must be non-empty")
            if not text.strip() and piece.role != "assistant":
                raise ApiError(f"{piece.section}: text content blocks must contain non-whitespace text")


def _texts(piece: Piece) -> Iterable[tuple[str, Mapping[str, Any]]]:
    if piece.section != "tools" and piece.type == "text":
        yield piece.path, piece.block
    if piece.type == "tool_result" and isinstance(piece.block.get("content"), list):
        for index, part in enumerate(piece.block["content"]):
            if part["type"] == "text":
                yield f"{piece.path}.content.{index}", part


def _check_tools(body: Body) -> None:
    _may(body, "tools", list)
    for index, tool in enumerate(body.get("tools") or ()):
        if not isinstance(tool, dict):
            raise _wrong(f"tools.{index}", dict)
        _may(tool, "name", str, f"tools.{index}.")
        if tool.get("type") in (None, "custom"):
            _needs(tool, "name", str, f"tools.{index}.custom.")
            _needs(tool, "input_schema", dict, f"tools.{index}.custom.")
        _check_mark(f"tools.{index}.", tool)


def _check_messages(messages: Sequence[Any]) -> None:
    if not messages:
        raise ApiError("messages: at least one message is required")
    for index, message in enumerate(messages):
        path = f"messages.{index}"
        if not isinstance(message, dict):
            raise _wrong(path, dict)
        _needs(message, "role", str, f"{path}.")
        if message["role"] not in _ROLES:
            raise ApiError(f"{path}.role: Input should be 'user', 'assistant' or 'system'")
        if "content" not in message:
            raise ApiError(f"{path}.content: Field required")
        _check_content(message["content"], f"{path}.content")
        if not message["content"] and (message["role"] != "assistant" or index < len(messages) - 1):
            raise ApiError(
                f"{path}: all messages must have non-empty content except for the optional final assistant message"
            )
    if messages[0]["role"] == "system":
        raise ApiError('messages: first message must use the "user" role')


def _check_content(content: Any, path: str) -> None:
    if isinstance(content, str) or (content is None and path == "system"):
        return
    if not isinstance(content, list):
        raise ApiError(f"{path}: Input should be a valid string or a list of content blocks")
    for index, block in enumerate(content):
        _check_block(block, f"{path}.{index}")


def _check_block(block: Any, path: str) -> None:
    if not isinstance(block, dict):
        raise _wrong(path, dict)
    _check_tag(block, path, _FIELDS)
    for key, kind in _FIELDS[block["type"]].items():
        _needs(block, key, kind, f"{path}.{block['type']}.")
    _check_mark(f"{path}.{block['type']}.", block)
    if block["type"] == "tool_result" and block.get("content") is not None:
        _check_content(block["content"], f"{path}.tool_result.content")
    if block["type"] == "document":
        _check_source(block["source"], f"{path}.document.source")


def _check_source(source: Mapping[str, Any], path: str) -> None:
    if source.get("type") == "text":
        _needs(source, "data", str, f"{path}.")
    if source.get("type") == "content":
        _check_content(source.get("content"), f"{path}.content")


def _check_tag(holder: Mapping[str, Any], path: str, tags: Iterable[str]) -> None:
    if "type" not in holder:
        raise ApiError(f"{path}.type: Field required")
    if holder["type"] not in list(tags):
        expected = ", ".join(f"'{tag}'" for tag in tags)
        found = f"Input tag '{holder['type']}' found using 'type'"
        raise ApiError(f"{path}: {found} does not match any of the expected tags: {expected}")


def _check_mark(prefix: str, holder: Mapping[str, Any]) -> None:
    mark = holder.get("cache_control")
    if mark is None:
        return
    path = f"{prefix}cache_control"
    if not isinstance(mark, dict):
        raise _wrong(path, dict)
    _check_tag(mark, path, ["ephemeral"])
    if mark.get("ttl", "5m") not in ("5m", "1h", None):
        raise ApiError(f"{path}.ephemeral.ttl: Input should be '5m' or '1h'")
    for key in sorted(mark.keys() - {"type", "ttl"}):
        raise _extra(f"{path}.ephemeral.{key}")


def _needs(holder: Mapping[str, Any], key: str, kind: type, prefix: str = "") -> None:
    if key not in holder:
        raise ApiError(f"{prefix}{key}: Field required")
    if not isinstance(holder[key], kind) or isinstance(holder[key], bool):
        raise _wrong(f"{prefix}{key}", kind)


def _may(holder: Mapping[str, Any], key: str, kind: type, prefix: str = "") -> None:
    if holder.get(key) is not None and not isinstance(holder[key], kind):
        raise _wrong(f"{prefix}{key}", kind)


def _wrong(path: str, kind: type) -> ApiError:
    return ApiError(f"{path}: Input should be a valid {_KIND[kind]}")


def _extra(path: str) -> ApiError:
    return ApiError(f"{path}: Extra inputs are not permitted")
