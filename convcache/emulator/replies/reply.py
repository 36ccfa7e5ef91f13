"""A reply as a value, and the one method that whoever replies must have.

Knows content and stop reasons. Must not know who asks.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import attrs


@attrs.frozen(kw_only=True)
class Reply:
    """The part of a message that the model decides."""

    content: tuple[Mapping[str, Any], ...]
    stop_reason: str = "end_turn"
    stop_sequence: str | None = None
    output_tokens: int | None = None
    """Tokens to bill; counted from the content if not given."""


class Replies(Protocol):
    """Answers requests. Called once per answered request, under the emulator's lock, when the response starts."""

    def reply(self, body: Mapping[str, Any]) -> Reply: ...


def reply_from(message: Any) -> Reply:
    """A reply from a message as the API writes it; only `content` is needed.

    Raises:
        ValueError: It is not a message.
    """
    content = message.get("content") if isinstance(message, Mapping) else None
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(blocks, list | tuple) or not all(
        isinstance(block, Mapping) and isinstance(block.get("type"), str) for block in blocks
    ):
        raise ValueError("a scripted reply needs `content`: a string or a list of blocks with a `type`")
    if any(block["type"] == "text" and not isinstance(block.get("text"), str) for block in blocks):
        raise ValueError("a text block of a scripted reply needs `text`: a string")
    calls = any(block["type"] == "tool_use" for block in blocks)
    return Reply(
        content=tuple(blocks),
        stop_reason=_string(message, "stop_reason") or ("tool_use" if calls else "end_turn"),
        stop_sequence=_string(message, "stop_sequence"),
        output_tokens=_tokens(message.get("usage")),
    )


def _string(message: Mapping[str, Any], name: str) -> str | None:
    value = message.get(name)
    if value is None or isinstance(value, str):
        return value
    raise ValueError(f"`{name}` of a scripted reply must be a string ({value!r})")


def _tokens(usage: Any) -> int | None:
    """The tokens to bill that a message's usage names."""
    if usage is None:
        return None
    if not isinstance(usage, Mapping):
        raise ValueError(f"`usage` of a scripted reply must be an object ({usage!r})")  # noqa: TRY004 - what a script says is a value
    tokens = usage.get("output_tokens")
    if tokens is None or (isinstance(tokens, int) and not isinstance(tokens, bool) and tokens >= 0):
        return tokens
    raise ValueError(f"`usage.output_tokens` of a scripted reply must be a whole number ({tokens!r})")
