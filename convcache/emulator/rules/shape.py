"""The form of a request: roles, contents and fields as the API's own types have them, and text that is not empty.

Knows where blocks may stand. Must not know breakpoints' order or count, nor tools' pairing.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from convcache.emulator import schema
from convcache.emulator.bodies import once
from convcache.emulator.errors import ApiError
from convcache.emulator.layout import Body, Piece
from convcache.emulator.rules.fields import Fields, extra, needs, wrong
from convcache.emulator.schema import Shape

MOST_MESSAGES: Final = 100_000
_CHECKED_APART: Final[Mapping[str, list[Any]]] = {"messages": [], "system": [], "tools": []}


def checked(body: object, *, counting: bool) -> tuple[Body, list[str]]:
    """The body if every part is of the type it has to be, and the fields that nobody knows."""
    if not isinstance(body, dict):
        raise ApiError("The request body is not a valid JSON object.")
    needs(body, "model", str)
    needs(body, "messages", list)
    if not counting:
        needs(body, "max_tokens", int)
        if body["max_tokens"] < 0:
            raise ApiError("max_tokens: Input should be greater than or equal to 0")
    fields = Fields()
    fields.check_shape({"max_tokens": 1, **body, **_CHECKED_APART}, schema.request())
    _check_tools(fields, body.get("tools"))
    _check_content(fields, body.get("system"), "system", "prompt")
    _check_messages(fields, body["messages"])
    return body, fields.extras


def check_extras(extras: Sequence[str]) -> None:
    """Fields where their schema has no room for them."""
    for path in extras:
        raise extra(path)


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


def _check_tools(fields: Fields, tools: Any) -> None:
    if tools is not None and not isinstance(tools, list):
        raise wrong("tools", list)
    for index, tool in enumerate(tools or ()):
        if not isinstance(tool, dict):
            raise wrong(f"tools.{index}", dict)
        fields.check_form(tool, schema.tools(), f"tools.{index}")


def _check_messages(fields: Fields, messages: Sequence[Any]) -> None:
    if not messages:
        raise ApiError("messages: at least one message is required")
    if len(messages) > MOST_MESSAGES:
        raise ApiError(f"messages: at most {MOST_MESSAGES:,} messages are allowed. Found {len(messages):,}.")
    for index, message in enumerate(messages):
        path = f"messages.{index}"
        _check_message(fields, message, path)
        if not message.get("content") and not _may_be_empty(message, last=index == len(messages) - 1):
            raise ApiError(
                f"{path}: all messages must have non-empty content except for the optional final assistant message"
            )


def _check_message(fields: Fields, message: Any, path: str) -> None:
    if not isinstance(message, dict):
        raise wrong(path, dict)
    needs(message, "role", str, f"{path}.")
    shape = schema.messages().get(message["role"])
    if shape is None:
        raise ApiError(f"{path}.role: Input should be 'user', 'assistant' or 'system'")
    fields.extras += once(message, ("extras", path), partial(_extras, message, shape, path))


def _extras(message: Mapping[str, Any], shape: Shape, path: str) -> list[str]:
    fields = Fields()
    fields.check_shape({**message, "content": []} if "content" in message else message, shape, f"{path}.")
    _check_content(fields, message.get("content"), f"{path}.content", message["role"])
    return fields.extras


def _may_be_empty(message: Mapping[str, Any], *, last: bool) -> bool:
    return bool(message.get("output_config")) if message["role"] == "system" else last and _is_answer(message)


def _is_answer(message: Mapping[str, Any]) -> bool:
    return bool(message["role"] == "assistant")


def _check_content(fields: Fields, content: Any, path: str, role: str) -> None:
    if isinstance(content, str) or (content is None and role in ("prompt", "system")):
        return
    if not isinstance(content, list):
        raise ApiError(f"{path}: Input should be a valid string or a list of content blocks")
    form = schema.content(role)
    for index, block in enumerate(content):
        if not isinstance(block, dict):
            raise wrong(f"{path}.{index}", dict)
        fields.check_form(block, form.items or form, f"{path}.{index}")
