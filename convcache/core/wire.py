"""Messages in the one form they have for ever: as JSON while they are new, as the bytes that were sent from then on.

Knows how the SDK writes JSON, and nothing of the SDK; what a breakpoint looks like, and not where one belongs.
"""

import json
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, chain
from operator import attrgetter
from typing import Any, Final, Self, get_args, overload

from convcache.core.blocks import Json, Ttl, as_blocks, as_bytes, control, marked, unmarked
from convcache.core.growing import CHUNK, Growing
from convcache.core.piece import Piece, field, pieces_of

Marks = Mapping[int, Mapping[int, Ttl]]
"""The breakpoints of messages: message -> block -> TTL. A message with none of ours is named to take off its own."""


class Message:
    """A message, by its JSON or by its bytes: either tells the other, and neither is ever changed."""

    __slots__ = ("_ends", "_json", "_page", "_pieces", "_place", "_was_sent", "_wire")

    def __init__(self, message: Json) -> None:
        self._json: Json | None = message
        self._pieces: tuple[Piece, ...] | None = None
        self._was_sent = False
        self._wire: bytes | None = None
        self._ends: tuple[int, ...] = ()
        self._page: Page | None = None
        self._place = 0

    @property
    def json(self) -> Json:
        """The message as its caller wrote it."""
        # Forks share messages: another thread may set this one down at any time.
        message = self._json
        if message is None:
            message = json.loads(self.wire)
        return message

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """Its blocks, read. They are kept until it was sent."""
        pieces = self._pieces
        if pieces is None:
            pieces = pieces_of(self.json)
            if not self._was_sent:
                self._pieces = pieces
        return pieces

    @property
    def wire(self) -> bytes:
        """Its bytes on the wire, without breakpoints."""
        wire = self._wire
        if wire is not None:
            return wire
        if self._page is not None:
            return self._page.between(self._place, self._place + 1)
        self._ends, wire = _frozen(self.json, self.pieces)
        self._wire = wire
        return wire

    def move(self, page: "Page", place: int) -> None:
        """Keep its bytes as part of a page."""
        # Last of all: another thread that finds them gone has to find the page.
        self._place, self._page, self._wire = place, page, None

    def up_to(self, count: int) -> bytes | None:
        """The bytes of so many messages up to this one, if they are on one page. The same message has the same ones
        before it, in one history and in what forks from it."""
        page, end = self._page, self._place + 1
        if page is None or end < count:
            return None
        return page.wire if count == page.count else page.between(end - count, end)

    def set_down(self, *, keeps_json: bool) -> bool:
        """Forget what no later request asks of a message that was sent: where it went by its bytes, all but them, unless
        its caller put breakpoints into it; whether there was anything."""
        self._was_sent = True
        pieces, self._pieces = self._pieces, None
        message = self._json
        if keeps_json or message is None or (self._wire is None and self._page is None):
            return pieces is not None
        if unmarked(message) is message if pieces is None else all(piece.bare for piece in pieces):
            self._json = None
        return True

    def marked_wire(self, ttls: Mapping[int, Ttl]) -> bytes:
        """Its bytes with breakpoints on some of its blocks, put together from what is frozen."""
        wire, pieces, start = self.wire, [], 0
        for place in sorted(ttls):
            end = self._ends[place] - 1
            pieces += [wire[start:end], MARKS[ttls[place]]]
            start = end
        return b"".join([*pieces, wire[start:]])


_json = attrgetter("json")
_FROZEN: Final[Callable[[Message], bytes]] = attrgetter("_wire")

MARKS: Final[Mapping[Ttl, bytes]] = {
    ttl: b',"cache_control":' + as_bytes(control(ttl)) for ttl in get_args(Ttl)
}
"""The bytes of a breakpoint behind what else a block has."""


class Page:
    """The bytes of messages that follow one another, in one piece, so that a long history is gathered page by page.

    Attributes:
        wire: All of them.
        count: How many messages these are.
    """

    __slots__ = ("_starts", "count", "wire")

    def __init__(self, messages: Sequence[Message]) -> None:
        wires = [message.wire for message in messages]
        self.wire, self.count = b",".join(wires), len(wires)
        self._starts = tuple(accumulate((len(wire) + 1 for wire in wires), initial=0))
        for place, message in enumerate(messages):
            message.move(self, place)

    def between(self, first: int, end: int) -> bytes:
        """The bytes of some of them."""
        return self.wire[self._starts[first] : self._starts[end] - 1]


def spliced(block: bytes, ttl: Ttl) -> bytes:
    """The bytes of a block with a breakpoint behind what else it has."""
    mark = MARKS[ttl]
    return block[:-1] + (mark if len(block) > len(b"{}") else mark[1:]) + b"}"


def marked_message(message: Json, ttls: Mapping[int, Ttl]) -> Json:
    """A copy of the message with breakpoints on these of its blocks and on no others."""
    content = [*map(unmarked, as_blocks(message["content"]))]
    for place, ttl in ttls.items():
        content[place] = marked(content[place], ttl)
    return {**message, "content": content}


def _frozen(message: Json, pieces: Iterable[Piece]) -> tuple[tuple[int, ...], bytes]:
    """Where each block ends, and the bytes."""
    fields, ends = [], list[int]()
    for name, value in message.items():
        if name != "content" or isinstance(value, str):
            fields.append(field(name) + as_bytes(value))
            continue
        blocks = [piece.wire for piece in pieces]
        start = 1 + sum(len(before) + 1 for before in fields) + len(field(name))
        ends = [*accumulate((len(block) + 1 for block in blocks), initial=start)][1:]
        fields.append(field(name) + b"[" + b",".join(blocks) + b"]")
    return tuple(ends), b"{" + b",".join(fields) + b"}"


class Messages(Sequence[Json]):
    """The messages of a history, which grows by a turn and shares what it has with all that grew from it."""

    __slots__ = ("_count", "_each", "_start")

    def __init__(self, messages: Iterable[Json] = ()) -> None:
        self._each = Growing(map(Message, messages))
        self._start, self._count = 0, len(self._each)

    def plus(self, messages: "Iterable[Json | Message]") -> Self:
        """These and more. Messages of another history are shared with it."""
        new = (
            messages.each()
            if isinstance(messages, Messages)
            else [item if isinstance(item, Message) else Message(item) for item in messages]
        )
        return self._of(self._each.plus(new), self._start)

    def first(self, count: int) -> Self:
        """So many from the start."""
        return self._of(self._each.first(self._start + count), self._start)

    def since(self, start: int) -> Self:
        """All but so many from the start."""
        return self._of(self._each, self._start + start)

    def whole(self) -> Self:
        """These, and those before the start."""
        return self._of(self._each, 0)

    def _of(self, each: Growing[Message], start: int) -> Self:
        messages = object.__new__(type(self))
        messages._each, messages._start = each, start
        messages._count = max(0, len(each) - start)
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

    def set_down(self, *, keeps_json: bool = False) -> None:
        """Forget what no later request asks of messages that were sent: where they went by their bytes, all but them.

        Args:
            keeps_json: Whether their JSON is asked for in every turn.
        """
        for message in reversed(self._each):
            if not message.set_down(keeps_json=keeps_json):
                break

    def each(self) -> Iterator[Message]:
        """The messages themselves."""
        return chain.from_iterable(self.chunks())

    def latest(self, after: int) -> list[Json]:
        """All but so many of them, those before the start counted."""
        return [message.json for message in self._each.since(after)]

    def chunks(self) -> tuple[tuple[Message, ...], ...]:
        """The messages in the tuples that hold them."""
        return self._each.chunks(self._start)

    def chunk_of(self, at: int) -> tuple[int, int]:
        """In which of these tuples a message is, and where."""
        chunk, place = divmod(self._start + at, CHUNK)
        skipped, within = divmod(self._start, CHUNK)
        return chunk - skipped, place if chunk > skipped else place - within

    def pieces(self, at: int) -> tuple[Piece, ...]:
        """The blocks of one of them, read."""
        return self.message(at).pieces

    def message(self, at: int) -> Message:
        """One of them."""
        return self._each[at if at < 0 else at + self._start]

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, at: int) -> Json: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[Json]: ...

    def __getitem__(self, at: int | slice) -> Json | Sequence[Json]:
        if isinstance(at, slice):
            return tuple([self.message(index).json for index in range(*at.indices(self._count))])
        if at < -self._count:
            raise IndexError(at)
        return self.message(at).json

    def __iter__(self) -> Iterator[Json]:
        return map(_json, self.each())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and [*self] == [*other]

    __hash__ = None  # type: ignore[assignment]  # it holds what is not hashable


class Written:
    """Messages with their breakpoints, on their way to whoever sends them.

    The SDK copies lists, and carries an object that it does not know as it is. This one says that it is empty where
    the SDK asks before it looks for helpers of its own in it, and stays itself where it is copied.
    """

    def __init__(
        self, messages: Messages, marks: Marks, head: Callable[[str], bytes | None] | None = None
    ) -> None:
        """Put breakpoints into messages.

        Args:
            messages: The messages.
            marks: Their breakpoints.
            head: Gives the bytes of what is sent with them and kept, by its field.
        """
        self.messages, self._marks, self._head = messages, marks, head

    def beside(self, name: str, value: object) -> bytes:
        """The bytes of a field that is sent with them."""
        return (self._head and self._head(name)) or as_bytes(value)

    def __iter__(self) -> Iterator[Json]:
        return iter(self.json())

    def json(self) -> list[Json]:
        """The list of them."""
        written = [*self.messages]
        for index, ttls in self._marks.items():
            written[index] = marked_message(written[index], ttls)
        return written

    def wire(self, before: bytes = b"", after: bytes = b"") -> bytes:
        """The bytes of the list of them, between others: joined once, for they may be many."""
        marks: dict[int, dict[int, Mapping[int, Ttl]]] = {}
        for index, ttls in self._marks.items():
            chunk, place = self.messages.chunk_of(index)
            marks.setdefault(chunk, {})[place] = ttls
        parts = [
            _marked(chunk, marks[at]) if at in marks else chunk[-1].up_to(len(chunk)) or _wire(chunk)
            for at, chunk in enumerate(self.messages.chunks())
            if chunk
        ]
        if not parts:
            return before + b"[]" + after
        parts[0] = before + b"[" + parts[0]
        parts[-1] += b"]" + after
        return b",".join(parts)

    def __bool__(self) -> bool:
        return False

    def __deepcopy__(self, _: object) -> Self:
        return self


def _wire(messages: Sequence[Message]) -> bytes:
    """The bytes of messages that follow one another. Where there are many of them, they stay in one piece."""
    if len(messages) == CHUNK:
        return Page(messages).wire
    wires = [*map(_FROZEN, messages)]
    return b",".join([message.wire for message in messages] if None in wires else wires)


def _marked(messages: Sequence[Message], marks: Mapping[int, Mapping[int, Ttl]]) -> bytes:
    """The same, with breakpoints. What is between marked ones is taken from their page, if they have one."""
    parts, start = list[bytes](), 0
    for place in sorted(marks):
        between = messages[start:place]
        if between:
            parts.append(between[-1].up_to(len(between)) or _wire(between))
        parts.append(messages[place].marked_wire(marks[place]))
        start = place + 1
    behind = messages[start:]
    if behind:
        parts.append(behind[-1].up_to(len(behind)) or _wire(behind))
    return b",".join(parts)


def in_json(body: Mapping[str, Any]) -> dict[str, Any]:
    """A request body whose messages are a list, for whoever needs one."""
    messages = body["messages"]
    return {**body, "messages": messages.json()} if isinstance(messages, Written) else {**body}
