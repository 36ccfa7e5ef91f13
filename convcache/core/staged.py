"""What waits for the next turn, and the receipt of what a caller says: strings, blocks and messages, each in the form that
it keeps for ever.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import attrs

from convcache.core.blocks import Json, as_bytes
from convcache.errors import EmptyMessageError, UnencodableError


@attrs.frozen
class Staged:
    """Messages that go out with the next turn.

    Attributes:
        messages: The messages.
        composing: Whether the last one is a user message made here from blocks, which further blocks join.
        asides: Blocks said to the model besides: notes, and changes of its tools.
    """

    messages: tuple[Json, ...] = ()
    composing: bool = False
    asides: tuple[Json, ...] = ()

    def joined_by(self, items: Iterable[Json | str]) -> "Staged":
        """These and more: messages stand for themselves, blocks and strings join a user message."""
        messages, composing = [*self.messages], self.composing
        for item in items:
            if isinstance(item, Mapping) and "role" in item:
                messages.append(as_message(item))
                composing = False
                continue
            said = messages.pop()["content"] if composing else ()
            messages.append(_user_message((*said, as_block(item))))
            composing = True
        return Staged(tuple(messages), composing, self.asides)

    def with_asides(self, *, takes_system: bool) -> "Staged":
        """With the asides as a message of the system's, or, where the model takes none, as blocks of the user's."""
        if not self.asides:
            return self
        if not takes_system:
            return attrs.evolve(self.joined_by(self.asides), asides=())
        message = self.said_aside
        return attrs.evolve(self, messages=(*self.messages, message), composing=False, asides=())

    @property
    def said_aside(self) -> Json:
        """The asides as a message of the system's."""
        return {"role": "system", "content": list(self.asides)}

    def with_cleared(self, blocks: Sequence[Json]) -> "Staged":
        """With what is true for this turn only, in a message that the API clears at the user's next one."""
        message = {"role": "system", "content": list(blocks), "clear_at": "next_user_message"}
        return attrs.evolve(self, messages=(*self.messages, message), composing=False)


NOTHING: Final = Staged()


def items_of(content: object) -> Iterable[Json | str]:
    """What a caller says, item by item.

    Raises:
        TypeError: It is no content.
        EmptyMessageError: There is nothing in it.
    """
    if isinstance(content, (str, Mapping)):
        return (content,)
    if not isinstance(content, (list, tuple)):
        raise TypeError(f"content is a string, a block or a list of blocks, not {type(content).__name__}")
    if not content:
        raise EmptyMessageError("The content is an empty list.")
    return content


def _user_message(blocks: Iterable[Json]) -> Json:
    """A user message of these blocks. The API wants tool results before anything else in it."""
    ordered = sorted(blocks, key=lambda block: block["type"] != "tool_result")
    return {"role": "user", "content": ordered}


def as_message(message: Json) -> Json:
    """A message of a caller's. Strings of the user's become blocks: only those can carry a breakpoint, and a message keeps
    its form for ever.

    Raises:
        TypeError: It is no message.
        EmptyMessageError: It says nothing.
    """
    if "role" not in message or "content" not in message:
        raise TypeError(f"a message has a role and content, not {sorted(message)}")
    content = message["content"]
    if not content:
        raise EmptyMessageError(f"A {message['role']} message has no content.")
    if isinstance(content, str) and message["role"] != "user":
        return {**message, "content": _text(content)}
    blocks = [content] if isinstance(content, (str, Mapping)) else content
    return {**message, "content": [as_block(block) for block in blocks]}


def as_block(item: object) -> Json:
    """A block of a caller's; a string is short for one of text.

    Raises:
        TypeError: It is neither.
        EmptyMessageError: It is text that says nothing.
    """
    if isinstance(item, str):
        return {"type": "text", "text": _text(item)}
    if not isinstance(item, Mapping) or "type" not in item:
        raise TypeError(f"content is a string, a block with a type, or a list of them, not {item!r:.80}")
    if item["type"] == "text":
        _text(item.get("text"))
    return item


def _text(text: object) -> str:
    if not isinstance(text, str):
        raise TypeError(f"text is a string, not {type(text).__name__}")
    if not text.strip():
        raise EmptyMessageError(f"A text block holds no text: {text!r:.40}.")
    return text


def own(item: Json | str) -> Json | str:
    """What is kept of an item."""
    return copied(item) if isinstance(item, Mapping) else item


def copied(value: Json) -> dict[str, Any]:
    """A deep copy that is JSON, so that nothing the caller does to its own objects changes the history.

    Raises:
        UnencodableError: It has no JSON form.
    """
    try:
        copy: dict[str, Any] = json.loads(as_bytes(value))
    except (TypeError, ValueError) as error:
        raise UnencodableError(str(error)) from error
    return copy
