"""Messages in the one form they have for ever: as JSON while they are new, as the bytes that were sent from then on.

Knows how the SDK writes JSON, and nothing of the SDK; what a breakpoint looks like, and not where one belongs.
"""

import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, Self, overload

from convcache.core.blocks import Json, Ttl, as_blocks, as_bytes, control, marked, unmarked
from convcache.core.growing import Growing

Marks = Mapping[int, Mapping[int, Ttl]]
"""The breakpoints of messages: message -> block -> TTL. A message with none of ours is named to take off its own."""


class Message:
    """A message, by its JSON or by its bytes: either tells the other, and neither is ever changed."""

    __slots__ = ("_ends", "_json", "_wire")

    def __init__(self, message: Json) -> None:
        self._json: Json | None = message
        self._wire: bytes | None = None
        self._ends: tuple[int, ...] = ()

    @property
    def json(self) -> Json:
        """The message as its caller wrote it."""
        # Forks share messages: another thread may set this one down at any time.
        message = self._json
        if message is None:
            message = json.loads(self.wire)
        return message

    @property
    def wire(self) -> bytes:
        """Its bytes on the wire, without breakpoints."""
        if self._wire is None:
            self._ends, self._wire = _frozen(self.json)
        return self._wire

    def set_down(self) -> bool:
        """Keep the bytes alone of a message that was sent by its bytes, unless its caller put breakpoints into it;
        whether there were both forms."""
        message = self._json
        if self._wire is None or message is None:
            return False
        if unmarked(message) is message:
            self._json = None
        return True

    def marked_wire(self, ttls: Mapping[int, Ttl]) -> bytes:
        """Its bytes with breakpoints on some of its blocks, put together from what is frozen."""
        wire, pieces, start = self.wire, [], 0
        for place in sorted(ttls):
            end = self._ends[place] - 1
            pieces += [wire[start:end], b',"cache_control":', as_bytes(control(ttls[place]))]
            start = end
        return b"".join([*pieces, wire[start:]])

    def marked_json(self, ttls: Mapping[int, Ttl]) -> Json:
        """The same as JSON."""
        return marked_message(self.json, ttls)


def marked_message(message: Json, ttls: Mapping[int, Ttl]) -> Json:
    """A copy of the message with breakpoints on these of its blocks and on no others."""
    blocks = (unmarked(block) for block in as_blocks(message["content"]))
    content = [marked(block, ttls[i]) if i in ttls else block for i, block in enumerate(blocks)]
    return {**message, "content": content}


@lru_cache(256)
def field(name: str) -> bytes:
    """The bytes of an object's key, up to its value."""
    return as_bytes(name) + b":"


def _frozen(message: Json) -> tuple[tuple[int, ...], bytes]:
    """Where each block ends, and the bytes."""
    wire, ends = bytearray(b"{"), []
    for name, value in message.items():
        wire += (b"," if len(wire) > 1 else b"") + field(name)
        if name != "content" or isinstance(value, str):
            wire += as_bytes(value)
            continue
        wire += b"["
        for place, block in enumerate(value):
            wire += (b"," if place else b"") + as_bytes(unmarked(block))
            ends.append(len(wire))
        wire += b"]"
    return tuple(ends), bytes(wire + b"}")


class Messages(Sequence[Json]):
    """The messages of a history, which grows by a turn and shares what it has with all that grew from it."""

    __slots__ = ("_each", "_start")

    def __init__(self, messages: Iterable[Json] = ()) -> None:
        self._each = Growing(map(Message, messages))
        self._start = 0

    def plus(self, messages: Iterable[Json]) -> Self:
        """These and more. Messages of another history are shared with it."""
        new = messages.each() if isinstance(messages, Messages) else map(Message, messages)
        return self._of(self._each.plus(new), self._start)

    def first(self, count: int) -> Self:
        """So many from the start."""
        return self._of(self._each.first(self._start + count), self._start)

    def since(self, start: int) -> Self:
        """All but so many from the start."""
        return self._of(self._each, self._start + start)

    def _of(self, each: Growing[Message], start: int) -> Self:
        messages = object.__new__(type(self))
        messages._each, messages._start = each, start
        return messages

    def shared(self, other: Sequence[Json]) -> int:
        """How many messages this and another history begin with that are the very same. What is only alike is not: a
        message has one place, in one history and in what forks from it."""
        if not isinstance(other, Messages):
            return 0
        both = min(len(self), len(other))
        if both and self.message(both - 1) is other.message(both - 1):
            return both
        return bisect_left(range(both), True, key=lambda at: self.message(at) is not other.message(at))

    def set_down(self) -> None:
        """Keep the bytes alone of what was sent by its bytes."""
        for message in reversed(self._each):
            if not message.set_down():
                break

    def each(self) -> Iterator[Message]:
        """The messages themselves."""
        return islice(self._each, self._start, None)

    def message(self, at: int) -> Message:
        """One of them."""
        return self._each[at if at < 0 else at + self._start]

    def __len__(self) -> int:
        return max(0, len(self._each) - self._start)

    @overload
    def __getitem__(self, at: int) -> Json: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[Json]: ...

    def __getitem__(self, at: int | slice) -> Json | Sequence[Json]:
        if isinstance(at, slice):
            return tuple(self[index] for index in range(*at.indices(len(self))))
        if at < 0 and at < -len(self):
            raise IndexError(at)
        return self.message(at).json

    def __iter__(self) -> Iterator[Json]:
        return (message.json for message in self.each())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and [*self] == [*other]

    __hash__ = None  # type: ignore[assignment]


class Written:
    """Messages with their breakpoints, on their way to whoever sends them.

    The SDK copies lists, and carries an object that it does not know as it is. This one says that it is empty where
    the SDK asks before it looks for helpers of its own in it, and stays itself where it is copied.
    """

    def __init__(self, messages: Messages, marks: Marks) -> None:
        self.messages, self._marks = messages, marks

    def __iter__(self) -> Iterator[Json]:
        for index, message in enumerate(self.messages.each()):
            ttls = self._marks.get(index)
            yield message.json if ttls is None else message.marked_json(ttls)

    def wire(self, before: bytes = b"", after: bytes = b"") -> bytes:
        """The bytes of the list of them, between others: joined once, for they may be many."""
        parts = [message._wire or message.wire for message in self.messages.each()]  # noqa: SLF001 - a call for each
        for index, ttls in self._marks.items():
            parts[index] = self.messages.message(index).marked_wire(ttls)
        if not parts:
            return before + b"[]" + after
        parts[0] = before + b"[" + parts[0]
        parts[-1] += b"]" + after
        return b",".join(parts)

    def __bool__(self) -> bool:
        return False

    def __deepcopy__(self, _: object) -> Self:
        return self


def in_json(body: Mapping[str, Any]) -> dict[str, Any]:
    """A request body whose messages are a list, for whoever needs one."""
    messages = body["messages"]
    return {**body, "messages": [*messages]} if isinstance(messages, Written) else {**body}
