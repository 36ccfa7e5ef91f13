"""Compaction: a conversation replaced by its summary, because it was asked for or has grown too long.

Knows when, and the blocks that come of it. Must not know what it costs; `course` bills it.
"""

from collections.abc import Mapping
from typing import Any, Final

from convcache.emulator.replies.heard import Heard
from convcache.emulator.replies.signature import token

THRESHOLD: Final = "compact_20260112"
LEAST_TRIGGER: Final = 50_000
_DEFAULT_TRIGGER: Final = 150_000
_LONGEST: Final = 160

Block = dict[str, Any]


def is_asked_for(body: Mapping[str, Any]) -> bool:
    return body.get("compaction") is not None


def threshold_edit(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The edit that compacts by itself, if there is one."""
    edits = (body.get("context_management") or {}).get("edits") or ()
    return next((edit for edit in edits if edit["type"] == THRESHOLD), None)


def is_due(body: Mapping[str, Any], tokens: int) -> bool:
    """Whether a prompt has reached the length at which its request wants it compacted."""
    edit = threshold_edit(body)
    return edit is not None and tokens >= trigger(edit)


def trigger(edit: Mapping[str, Any]) -> int:
    return int((edit.get("trigger") or {"value": _DEFAULT_TRIGGER})["value"])


def pauses(body: Mapping[str, Any]) -> bool:
    """Whether the answer is to end with the summary."""
    return is_asked_for(body) or bool((threshold_edit(body) or {}).get("pause_after_compaction"))


def summary(body: Mapping[str, Any]) -> Block:
    """The block that stands for everything before it; signed, if it was asked for."""
    content = _summarised(Heard.of(body))
    if is_asked_for(body):
        signature = token("summary", content, length=160)
        return {"type": "compaction", "content": content, "signature": signature, "tool_changes": []}
    return {
        "type": "compaction",
        "content": content,
        "encrypted_content": token("summary", content, length=80),
    }


def _summarised(heard: Heard) -> str:
    asked = [*heard.asked, heard.text]
    parts = [f"The user wrote: {_short(text)}" for text in asked if text]
    parts += [f"The assistant answered: {_short(text)}" for text in heard.said[-1:]]
    return "Summary of the conversation so far. " + " ".join(parts)


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= _LONGEST else words[:_LONGEST].rsplit(" ", 1)[0] + " …"
