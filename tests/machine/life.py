"""One conversation of a machine: what is said in it, how its history is changed, and what must still be in it."""

from copy import deepcopy
from typing import Any

import attrs
from anthropic import beta_tool

from tests.machine.words import Json, says
from tests.words import text

OTHER_RULES = [text("Other rules. " * 600)]

IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk=" * 9_000}}
DOCUMENT = {
    "type": "document",
    "source": {"type": "text", "media_type": "text/plain", "data": "A page. " * 400},
    "citations": {"enabled": True},
}
CITATION = {
    "type": "char_location",
    "cited_text": "A page.",
    "document_index": 0,
    "document_title": None,
    "start_char_index": 0,
    "end_char_index": 7,
}

CLEAR_TOOLS = {"type": "clear_tool_uses_20250919"}
SERVER_EDITS = [
    {**CLEAR_TOOLS, "trigger": {"type": "tool_uses", "value": 2}, "keep": {"type": "tool_uses", "value": 1}},
    {**CLEAR_TOOLS, "trigger": {"type": "input_tokens", "value": 6_000}, "clear_tool_inputs": True},
    {
        **CLEAR_TOOLS,
        "trigger": {"type": "tool_uses", "value": 1},
        "clear_at_least": {"type": "input_tokens", "value": 1_000},
    },
    {"type": "clear_thinking_20251015", "keep": {"type": "thinking_turns", "value": 1}},
]
BETAS = ["context-management-2025-06-27"]
SUMMARY: Json = {
    "betas": ["compact-2026-09-04"],
    "compaction": {"type": "summarize"},
    "context_management": None,
}

LONG_HISTORY = [
    message
    for number in range(60)
    for message in (
        {"role": "user", "content": f"question {number}"},
        {"role": "assistant", "content": f"answer {number}"},
    )
]
"""So long that it goes to the SDK as bytes."""


@beta_tool
def look_up(word: str) -> str:
    """Looks a word up."""
    return f"what {word} means " * 20


def without_results(messages: list[Json]) -> list[Json]:
    """All but the last results are cleared."""
    edited = deepcopy(messages)
    for message in edited[:-2]:
        for block in message["content"]:
            if isinstance(block, dict) and block["type"] == "tool_result":
                block["content"] = "cleared"
    return edited


def from_the_last_question(messages: list[Json]) -> list[Json]:
    """The history begins with what a person said last, unless tools came before it."""
    for index in range(len(messages) - 1, -1, -1):
        blocks = messages[index]["content"]
        if messages[index]["role"] == "user" and not [b for b in blocks if b["type"] == "tool_result"]:
            return messages if says(messages[:index], "tool_addition") else messages[index:]
    return messages


def with_another_beginning(messages: list[Json]) -> list[Json]:
    """Something was said before."""
    return [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Hello!"}, *messages]


def without_asides(messages: list[Json]) -> list[Json]:
    """Without those at the end, which got no answer and wait for the next turn."""
    return messages[:-1] if messages and messages[-1]["role"] == "system" else messages


@attrs.define(eq=False)
class Life:
    """A conversation, and what must be in it.

    Attributes:
        chat: The conversation.
        past: The history after each turn, the last one last; `None` where a change was made since.
        staged: What the next turn must say.
        has_ask: Whether it could be sent with nothing added.
        tools: The tools that came in and can be taken away.
    """

    chat: Any
    past: list[list[Json] | None]
    staged: list[str] = attrs.field(factory=list)
    has_ask: bool = False
    tools: list[str] = attrs.field(factory=list)

    def forked(self) -> "Life":
        return Life(self.chat.fork(), list(self.past), list(self.staged), self.has_ask, list(self.tools))

    def kept(self, *words: str, turns: int = 1, before: int = 0, edits: int = 0, anew: bool = False) -> None:
        """So many turns were kept, with what was staged and these words."""
        now = self.chat.messages
        if edits != before:
            self.past = [None] * len(self.past)
        if (past := self.past[-1]) is not None and not anew:
            assert now[: len(past)] == past
        if not anew:
            assert all(says(now, said.strip()) for said in (*self.staged, *words))
        answered = without_asides(now)
        self.past += [None] * (turns - 1) + [answered]
        self.staged, self.has_ask = self.staged if len(answered) < len(now) else [], False
