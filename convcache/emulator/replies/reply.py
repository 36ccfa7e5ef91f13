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
        isinstance(block, Mapping) and "type" in block for block in blocks
    ):
        raise ValueError("a scripted reply needs `content`: a string or a list of blocks with a `type`")
    calls = any(block["type"] == "tool_use" for block in blocks)
    return Reply(
        content=tuple(blocks),
        stop_reason=message.get("stop_reason") or ("tool_use" if calls else "end_turn"),
        stop_sequence=message.get("stop_sequence"),
        output_tokens=(message.get("usage") or {}).get("output_tokens"),
    )
