"""A request laid out as the one sequence the API reads: tools, system, messages, block by block.

Knows where blocks stand and what path names them. Must not know hashing, breakpoints or which blocks count.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, Literal, NamedTuple, TypeVar

from convcache.emulator.bodies import Message, Said, folded, once

Section = Literal["tools", "system", "messages"]
Body = Mapping[str, Any]
Worked = TypeVar("Worked")

EFFORT: Final = "output_config"
"""The type of a piece that is no block: the effort a system message sets from there on."""


class Piece(NamedTuple):
    """One tool definition, system block or content block, where it stands in the request."""

    path: str
    section: Section
    role: str
    block: Mapping[str, Any]
    message: int = -1
    from_string: bool = False
    turn_scoped: bool = False
    known: dict[Any, Any] | None = None
    """What has been worked out about it, for a piece of a message that is remembered."""

    @property
    def type(self) -> str:
        return str(self.block.get("type", ""))

    def once(self, key: Any, work_out: "Callable[[Piece], Worked]") -> Worked:
        """What a pure function of this piece and a key comes to."""
        if self.known is None:
            return work_out(self)
        if key not in self.known:
            self.known[key] = work_out(self)
        worked: Worked = self.known[key]
        return worked


def laid_out(body: Body) -> list[Piece]:
    """Every block of a request in prefix order; string content is the one text block it stands for."""
    return [*_tools(body), *_system(body), *_messages(body)]


def unseen(messages: Sequence[Any], pieces: Sequence[Piece], key: Any) -> Iterator[Piece]:
    """The pieces to look at: all, but those of messages about which the caller came to the end before.

    Args:
        messages: Of the request.
        pieces: Of the request, in order.
        key: Names what is looked for, and whatever else it depends on.
    """
    start = _seen(messages, key)
    first = bisect_left(pieces, start, key=_message_of)
    yield from pieces[: bisect_left(pieces, 0, key=_message_of)]
    yield from pieces[first:]
    for message in messages[start:] if isinstance(messages, Said) else ():
        if isinstance(message, Message):
            message.worked_out[key] = True


def _seen(messages: Sequence[Any], key: Any) -> int:
    for place in range(len(messages), 0, -1) if isinstance(messages, Said) else ():
        message = messages[place - 1]
        if isinstance(message, Message) and key in message.worked_out:
            return place
    return 0


def _message_of(piece: Piece) -> int:
    return piece.message


def blocks_of(content: Any) -> tuple[list[Mapping[str, Any]], bool]:
    """The blocks of a content, and whether it was a string."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}], True
    return list(content or ()), False


def any_of(messages: Sequence[Any], types: frozenset[str]) -> bool:
    """Whether a block of one of these types stands in a message; what was looked through is remembered."""
    return folded(messages, types, False, partial(_has_one_of, types))


def _has_one_of(types: frozenset[str], so_far: bool, _place: int, message: Mapping[str, Any]) -> bool:
    return so_far or any(block.get("type") in types for block in blocks_of(message.get("content"))[0])


def is_deferred(tool: Mapping[str, Any]) -> bool:
    """Whether a tool stays out of the prompt until it is found or added; a toolset if all of its tools do."""
    default, configs = tool.get("default_config"), tool.get("configs")
    if not isinstance(default, Mapping) or not default.get("defer_loading"):
        return bool(tool.get("defer_loading"))
    single = configs.values() if isinstance(configs, Mapping) else ()
    return all(config.get("defer_loading", True) for config in single if isinstance(config, Mapping))


def _tools(body: Body) -> Iterator[Piece]:
    for index, tool in enumerate(body.get("tools") or ()):
        yield Piece(f"tools.{index}", "tools", "tools", tool)


def _system(body: Body) -> Iterator[Piece]:
    if not body.get("system"):
        return
    blocks, from_string = blocks_of(body["system"])
    for index, block in enumerate(blocks):
        yield Piece(f"system.{index}", "system", "system", block, from_string=from_string)


def _messages(body: Body) -> Iterator[Piece]:
    for number, message in enumerate(body["messages"]):
        yield from once(message, ("pieces", number), partial(_of_message, number, message))


def _of_message(number: int, message: Mapping[str, Any]) -> tuple[Piece, ...]:
    return tuple(_message(number, message))


def _message(number: int, message: Mapping[str, Any]) -> Iterator[Piece]:
    blocks, from_string = blocks_of(message.get("content"))
    if message.get("output_config") and isinstance(message["output_config"], Mapping):
        effort = {"type": EFFORT, **message["output_config"]}
        yield Piece(f"messages.{number}.output_config", "messages", message["role"], effort, number)
    turn_scoped = message.get("clear_at") == "next_user_message"
    for index, block in enumerate(blocks):
        path = f"messages.{number}.content.{index}"
        known: dict[Any, Any] | None = {} if isinstance(message, Message) else None
        yield Piece(path, "messages", message["role"], block, number, from_string, turn_scoped, known)
