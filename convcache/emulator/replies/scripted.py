"""Replies decided beforehand: a queue of whole messages, used first and once.

Knows the queue. Must not know how to make up a reply; whoever comes after it does.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any

from convcache.emulator.replies.attentive import AttentiveReplies
from convcache.emulator.replies.reply import Replies, Reply, reply_from


class ScriptedReplies:
    """Plays messages in order, then leaves the floor to another.

    Args:
        messages: Messages as the API writes them; `content` is enough, `stop_reason` and
            `usage.output_tokens` are taken if present. Truncated by nothing.
        fallback: Who replies when the queue is empty.
    """

    def __init__(self, *messages: Mapping[str, Any], fallback: Replies | None = None) -> None:
        self._fallback = fallback or AttentiveReplies()
        self._queue: deque[Reply] = deque()
        self.push(*messages)

    def push(self, *messages: Mapping[str, Any]) -> None:
        """Adds messages to the end of the queue: all of them, or none if one is malformed."""
        self._queue.extend([reply_from(message) for message in messages])

    def reply(self, body: Mapping[str, Any]) -> Reply:
        return self._queue.popleft() if self._queue else self._fallback.reply(body)

    def clear(self) -> None:
        self._queue.clear()

    def __len__(self) -> int:
        return len(self._queue)
