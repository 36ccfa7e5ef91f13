"""Histories to measure with: a chat of plain texts, or an agent's calls and their results, of some 400 bytes a block."""

from typing import Any, Final, Literal

Json = dict[str, Any]
Kind = Literal["chat", "agent"]

KINDS: Final[tuple[Kind, ...]] = ("chat", "agent")

_WORDS: Final = "A sentence of some length that stands for what is said in a conversation. " * 6
_BYTES: Final = 400


def text(number: int) -> Json:
    return {"type": "text", "text": f"{number}. {_WORDS}"[:_BYTES]}


def asked(kind: Kind, number: int) -> list[Json]:
    """What the user's side says in a request: words, or after the first one the result of the call before."""
    if kind == "chat" or number == 0:
        return [text(number)]
    return [{"type": "tool_result", "tool_use_id": f"call_{number - 1}", "content": [text(number)]}]


def replied(kind: Kind, number: int) -> list[Json]:
    """What the model answers to it: words, or words and a call."""
    if kind == "chat":
        return [text(number)]
    call = {"type": "tool_use", "id": f"call_{number}", "name": "find", "input": {"path": f"{number}.py"}}
    return [{"type": "text", "text": f"{number}. I look."}, call]


def history(kind: Kind, messages: int) -> list[Json]:
    """So many messages, the last one the user's."""
    said: list[Json] = []
    for number in range(messages // 2 + 1):
        said.append({"role": "user", "content": asked(kind, number)})
        said.append({"role": "assistant", "content": replied(kind, number)})
    return said[: messages - 1 | 1]
