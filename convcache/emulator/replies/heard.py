"""What a reply has to go by: the system prompt, the last user turn, and what was said before.

Knows how to find text in a request. Must not know how to answer.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from convcache.emulator.layout import blocks_of


@attrs.frozen(kw_only=True)
class Heard:
    """A conversation reduced to its words."""

    system: str
    text: str
    """What the user said last."""
    results: tuple[str, ...]
    """What the tools returned, if the last turn brings results."""
    asked: tuple[str, ...]
    """What the user said before, oldest first."""
    said: tuple[str, ...]
    """What the assistant said before."""
    turn: int
    """How many assistant messages came before."""

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> "Heard":
        messages = [message for message in body["messages"] if message["role"] != "system"]
        last = _last_turn(messages)
        earlier = messages[: len(messages) - len(last)]
        return cls(
            system="\n\n".join([_text(body.get("system")), *_documents(messages)]),
            text="\n".join(_texts(last)),
            results=tuple(_results(last)),
            asked=tuple(_texts(_by("user", earlier))),
            said=tuple(_texts(_by("assistant", messages))),
            turn=len(_by("assistant", messages)),
        )


def _last_turn(messages: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """The user messages at the end."""
    start = len(messages)
    while start and messages[start - 1]["role"] == "user":
        start -= 1
    return messages[start:]


def _by(role: str, messages: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [message for message in messages if message["role"] == role]


def _texts(messages: Iterable[Mapping[str, Any]]) -> list[str]:
    texts = [_text(message["content"]) for message in messages]
    return [text for text in texts if text]


def _text(content: Any) -> str:
    return "\n\n".join(block["text"] for block in blocks_of(content)[0] if block.get("type") == "text")


def _results(messages: Iterable[Mapping[str, Any]]) -> list[str]:
    return [
        _text(block.get("content"))
        for message in messages
        for block in blocks_of(message["content"])[0]
        if block.get("type") == "tool_result"
    ]


def _documents(messages: Iterable[Mapping[str, Any]]) -> list[str]:
    sources = [
        block.get("source")
        for message in messages
        for block in blocks_of(message["content"])[0]
        if block.get("type") == "document"
    ]
    return [
        str(source["data"])
        for source in sources
        if isinstance(source, Mapping) and source.get("type") == "text"
    ]
