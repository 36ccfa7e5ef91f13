"""A whole message told as the events of a stream, as the API tells it.

Knows event names, deltas and which usage goes where. Must not know caches, delays or transports.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from convcache.emulator.wire import compact, on_the_wire

Event = Mapping[str, Any]

_FULL_USAGE_ONLY: Final = ("cache_creation", "service_tier")
_TOLD_AT_THE_END: Final = ("context_management",)
_SMALLEST_PIECE: Final = 24
_MOST_PIECES: Final = 200


def encoded(event: Event) -> bytes:
    return on_the_wire(f"event: {event['type']}\ndata: {compact(event)}\n\n")


def events(message: Mapping[str, Any]) -> Iterator[Event]:
    """The stream that adds up to `message`."""
    yield {"type": "message_start", "message": _opening(message)}
    for index, block in enumerate(message["content"]):
        yield {"type": "content_block_start", "index": index, "content_block": _empty(block)}
        if index == 0:
            yield {"type": "ping"}
        for delta in _deltas(block):
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    yield {
        "type": "message_delta",
        "delta": {key: message[key] for key in ("stop_reason", "stop_sequence", "stop_details")},
        "usage": {key: value for key, value in message["usage"].items() if key not in _FULL_USAGE_ONLY},
        **{key: message[key] for key in _TOLD_AT_THE_END if key in message},
    }
    yield {"type": "message_stop"}


def _opening(message: Mapping[str, Any]) -> Mapping[str, Any]:
    usage = {**message["usage"], "output_tokens": min(1, message["usage"]["output_tokens"])}
    message = {key: value for key, value in message.items() if key not in _TOLD_AT_THE_END}
    nothing_yet: Event = {"content": [], "stop_reason": None, "stop_sequence": None, "stop_details": None}
    return {**message, **nothing_yet, "usage": usage}


def _empty(block: Mapping[str, Any]) -> Mapping[str, Any]:
    """A block before its deltas; blocks without deltas come whole."""
    match block["type"]:
        case "text":
            return {**block, "text": "", **({"citations": []} if block.get("citations") else {})}
        case "thinking":
            return {**block, "thinking": "", "signature": ""}
        case "tool_use" | "server_tool_use" | "mcp_tool_use":
            return {**block, "input": {}}
        case "compaction":
            return {**block, "content": None}
    return block


def _deltas(block: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    match block["type"]:
        case "text":
            yield from (
                {"type": "citations_delta", "citation": citation} for citation in block.get("citations") or ()
            )
            yield from ({"type": "text_delta", "text": piece} for piece in _pieces(block["text"]))
        case "thinking":
            yield from ({"type": "thinking_delta", "thinking": piece} for piece in _pieces(block["thinking"]))
            yield {"type": "signature_delta", "signature": block["signature"]}
        case "compaction":
            told = {key: block.get(key) for key in ("content", "encrypted_content")}
            yield {"type": "compaction_delta", **told}
        case "tool_use" | "server_tool_use" | "mcp_tool_use":
            written = compact(block["input"]) if block["input"] else ""
            yield from (
                {"type": "input_json_delta", "partial_json": piece} for piece in ("", *_pieces(written))
            )


def _pieces(text: str) -> Iterator[str]:
    size = max(_SMALLEST_PIECE, -(-len(text) // _MOST_PIECES))
    for start in range(0, len(text), size):
        yield text[start : start + size]
