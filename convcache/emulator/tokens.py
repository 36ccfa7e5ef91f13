"""How many tokens a block renders to: a deterministic estimate, a quarter of its UTF-8 bytes rounded up.

Knows block types. Must not know models, prefixes or prices.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from convcache.emulator.wire import compact

Block = Mapping[str, Any]
CountTokens = Callable[[Block], int]

BYTES_PER_TOKEN: Final = 4
PICTURE: Final = 1600
"""An image, or a document that is not text, whatever its size."""


def estimated_tokens(block: Block) -> int:
    """The tokens of one block: a tool definition, a system block or a content block."""
    if block.get("type") == "image":
        return PICTURE
    if block.get("type") == "document":
        return _document_tokens(block)
    if block.get("type") == "tool_result" and isinstance(block.get("content"), list):
        return sum(estimated_tokens(part) for part in block["content"])
    return _tokens(rendered_text(block))


def rendered_text(block: Block) -> str:
    """The text of a block that a model would read."""
    render = _TEXTS.get(str(block.get("type")))
    return render(block) if render else compact(without_marks(block))


def without_marks(block: Block) -> dict[str, Any]:
    return {key: value for key, value in block.items() if key != "cache_control"}


def _tokens(text: str) -> int:
    return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)


def _document_tokens(block: Block) -> int:
    source = block.get("source")
    match source:
        case {"type": "text", "data": str(text)}:
            return _tokens(text)
        case {"type": "content", "content": str(text)}:
            return _tokens(text)
        case {"type": "content", "content": list(parts)}:
            return sum(estimated_tokens(part) for part in parts)
    return PICTURE


def _tool_result_text(block: Block) -> str:
    content = block.get("content")
    return content if isinstance(content, str) else ""


def _call_text(block: Block) -> str:
    return f"{block.get('name', '')}{compact(block.get('input'))}"


_TEXTS: Final[dict[str, Callable[[Block], str]]] = {
    "text": lambda block: str(block.get("text") or ""),
    "thinking": lambda block: str(block.get("thinking") or block.get("signature") or ""),
    "redacted_thinking": lambda block: str(block.get("data") or ""),
    "tool_use": _call_text,
    "server_tool_use": _call_text,
    "mcp_tool_use": _call_text,
    "tool_result": _tool_result_text,
}
