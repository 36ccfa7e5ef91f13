"""A reply cut where `max_tokens` ends it.

Knows blocks and their tokens. Must not know how the reply came about.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from convcache.emulator.replies.reply import Reply
from convcache.emulator.tokens import BYTES_PER_TOKEN, estimated_tokens

_TEXT_OF: Final = {"text": "text", "thinking": "thinking"}


def within(content: Sequence[Mapping[str, Any]], max_tokens: int) -> Reply:
    """The content as a reply of at most `max_tokens`; what does not fit is cut off."""
    left, kept = max_tokens, list[Mapping[str, Any]]()
    for block in content:
        tokens = 0 if block["type"].endswith("_tool_result") else estimated_tokens(block)
        if tokens > left:
            return Reply(content=(*kept, *_shortened(block, left)), stop_reason="max_tokens")
        kept.append(block)
        left -= tokens
    calls = any(block["type"] == "tool_use" for block in kept)
    return Reply(content=tuple(kept), stop_reason="tool_use" if calls else "end_turn")


def _shortened(block: Mapping[str, Any], tokens: int) -> list[Mapping[str, Any]]:
    key = _TEXT_OF.get(block["type"])
    text = (
        block[key].encode("utf-8", "surrogatepass")[: tokens * BYTES_PER_TOKEN].decode("utf-8", "ignore")
        if key
        else ""
    )
    return [{**block, key: text}] if key and text.strip() else []
