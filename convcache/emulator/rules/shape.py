"""The form of a request: roles, contents and fields as the API's own types have them, and text that is not empty.

Knows where blocks may stand. Must not know breakpoints' order or count, nor tools' pairing.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, NoReturn

from convcache.emulator import schema
from convcache.emulator.bodies import folded
from convcache.emulator.errors import ApiError
from convcache.emulator.layout import Body, Piece, unseen
from convcache.emulator.rules.fields import Fields, extra, needs, wrong

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


def check_texts(body: Body, pieces: Sequence[Piece]) -> None:
    """No text block may be empty, nor hold nothing but white space; a marked one is told so first.

    The API was recorded taking back white space that a model had said before it called a tool.
    """
    for piece in unseen(body["messages"], pieces, "texts"):
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
    form = folded(messages, "form", _Form(), _checked)
    if form.empty is not None and not _is_answer(messages[-1]):
        _refuse_empty(form.empty)
    fields.extras += form.extras


class _Form(NamedTuple):
    """The messages so far: the fields that nobody knows, and the last one's place if it is empty."""

    extras: tuple[str, ...] = ()
    empty: int | None = None


def _checked(so_far: _Form, place: int, message: Any) -> _Form:
    if so_far.empty is not None:
        _refuse_empty(so_far.empty)
    extras = _message_extras(message, f"messages.{place}")
    is_empty = not message.get("content") and not (
        message["role"] == "system" and message.get("output_config")
    )
    return _Form(so_far.extras + extras, place if is_empty else None)


def _refuse_empty(place: int) -> NoReturn:
    raise ApiError(
        f"messages.{place}: all messages must have non-empty content except for the optional final assistant message"
    )


def _message_extras(message: Any, path: str) -> tuple[str, ...]:
    if not isinstance(message, dict):
        raise wrong(path, dict)
    needs(message, "role", str, f"{path}.")
    shape = schema.messages().get(message["role"])
    if shape is None:
        raise ApiError(f"{path}.role: Input should be 'user', 'assistant' or 'system'")
    fields = Fields()
    fields.check_shape({**message, "content": []} if "content" in message else message, shape, f"{path}.")
    _check_content(fields, message.get("content"), f"{path}.content", message["role"])
    return tuple(fields.extras)


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
