"""A request as the API's cache sees it: tools, then system, then messages, as one chain of digests.

Each block is a node whose digest names everything up to it, so two requests share a prefix exactly as far as
their nodes agree. Knows what is rendered and what a lookback position is; nothing of what is cached.
"""

import json
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from hashlib import blake2b
from operator import attrgetter, is_
from typing import Any, Final, NamedTuple, Self

import attrs

from convcache.core import key
from convcache.core.blocks import (
    Json,
    Ttl,
    as_blocks,
    breakpoint_ttl,
    is_markable,
    is_turn_scoped,
    text_length,
    unmarked,
)
from convcache.core.catalog import COLLAPSING_PLATFORMS, Model, Platform, model, platform
from convcache.core.growing import Growing, find_late
from convcache.core.outline import Outline, PiecesAt, Place
from convcache.core.piece import Piece, pieces_of
from convcache.core.view import View
from convcache.core.wire import Messages

Path = tuple[str, int] | tuple[str, int, int]

CountTokens = Callable[[Json], int]
"""Tokens of one block. Without one, lengths are bytes, and tokens are estimated from them."""

BYTES_PER_TOKEN: Final = 4.0
"""The estimate before the first bill of a conversation; every bill then corrects it."""


class Node(NamedTuple):
    """One block, as the end of a prefix.

    Attributes:
        path: Where the block stands in the request: `("messages", 3, 0)`.
        digest: Names the prefix up to and including this block, with all that is part of its key.
        said: Names only what the messages up to here say, whatever the model, tools, system and settings; empty in a
            prompt that is not followed.
        position: Its lookback position, counted from the start of the prompt.
        size: Bytes of the prefix.
        length: What tokens of the prefix are told from: counted tokens, or its bytes.
        markable: Whether the API takes a breakpoint here.
        own: The TTL of a breakpoint that the caller put here.
        shared: Whether the caller declared that others share the prompt up to here.
        kind: The block's type.
    """

    path: Path
    digest: bytes
    said: bytes
    position: int
    size: int
    length: int
    markable: bool
    own: Ttl | None
    shared: bool
    kind: str | None

    @property
    def section(self) -> str:
        """`tools`, `system` or `messages`."""
        return self.path[0]


class Nodes(Growing[Node]):
    """The nodes of a prompt in order, and the few among them that every plan looks at.

    Attributes:
        head: How many of them stand before the messages.
        own: The indices of those that carry a breakpoint of the caller's.
        shared: The indices of those that the caller declared to be shared.
    """

    __slots__ = ("head", "own", "shared")

    def __init__(self) -> None:
        super().__init__()
        self.head, self.own, self.shared = 0, Growing[int](), Growing[int]()

    def plus(self, items: Iterable[Node]) -> Self:
        """These and more."""
        new = tuple(items)
        grown = super().plus(new)
        grown.head, grown.own, grown.shared = self.head, self.own, self.shared
        for index, node in enumerate(new, len(self)):
            if node.path[0] != "messages":
                grown.head = index + 1
            if node.own is not None:
                grown.own = grown.own.plus([index])
            if node.shared:
                grown.shared = grown.shared.plus([index])
        return grown

    def first(self, count: int) -> Self:
        """The first ones."""
        if count == len(self):
            return self
        cut = super().first(count)
        cut.head = min(self.head, count)
        cut.own, cut.shared = (all_.first(bisect_left(all_, count)) for all_ in (self.own, self.shared))
        return cut

    def before(self, place: Place) -> int:
        """How many stand before a place in the messages."""
        return find_late(self, place, _place)

    def find(self, node: Node) -> int | None:
        """The index of a node of another prompt, if its whole prefix is here."""
        index = find_late(self, node.size, attrgetter("size"))
        return index if index < len(self) and self[index].digest == node.digest else None


_NO_NODES: Final = Nodes()


@attrs.frozen
class Head:
    """What a request has besides its messages, as far as it is part of the key.

    Attributes:
        read: The values that it was read from, as the request has them.
        fields: What they make of the key, by the name a person calls it; tools and system by their digests.
        blocks: The tools and the system prompt without breakpoints.
    """

    read: tuple[object, ...]
    fields: Mapping[str, Any]
    blocks: Mapping[str, Sequence[Json]]

    @classmethod
    def of(cls, request: Json, parts: "_HeadParts") -> Self:
        """The head of a request, which has these parts."""
        tools, system = (_digest(b"", b"", b",".join(piece.key for _, piece in part)) for part in parts)
        fields = {
            "model": request["model"],
            "tools": tools,
            "system": system,
            "context edits": request.get("context_management"),
            **key.values(request),
        }
        return cls(tuple(map(request.get, key.FIELDS)), fields, _bare(request))

    def is_of(self, request: Json) -> bool:
        """Whether a request has the very same objects."""
        return all(map(is_, self.read, map(request.get, key.FIELDS)))

    def bare(self, request: Json) -> Mapping[str, Sequence[Json]]:
        """The tools and the system prompt of a request, most likely of this one, without breakpoints."""
        return self.blocks if self.is_of(request) else _bare(request)


def _bare(request: Json) -> dict[str, Sequence[Json]]:
    sections = ((name, as_blocks(request[name])) for name in ("tools", "system") if request.get(name))
    return {name: tuple(map(unmarked, blocks)) for name, blocks in sections}


@attrs.frozen(kw_only=True)
class Prompt:
    """The chain of a request's blocks.

    Attributes:
        model: The catalogue's row of the request's model.
        fields: What the key is made of besides the messages' blocks, by the name a person calls it.
        nodes: The blocks in prompt order. Deferred tools, and what the view leaves out, are not in the prompt.
        messages: The messages the chain was built from.
        outline: Where things stand in them.
        view: What the server leaves of the messages.
        head: What stands before them.
        automatic: The TTL of a top-level breakpoint of the caller's.
    """

    model: Model
    fields: Mapping[str, Any]
    nodes: Nodes
    messages: Sequence[Json]
    outline: Outline
    view: View
    head: Head
    automatic: Ttl | None

    @classmethod
    def of(
        cls,
        request: Json,
        *,
        grown_from: Self | None = None,
        known: int | None = None,
        is_followed: bool = False,
        rules: Platform | None = None,
        count: CountTokens | None = None,
        bytes_per_token: float = BYTES_PER_TOKEN,
    ) -> Self:
        """Read a request body.

        Args:
            request: What `messages.create` takes, as plain JSON.
            grown_from: An earlier prompt, most likely of the same conversation. What both begin with is taken over,
                and only the rest is read.
            known: How many messages are the same in both; if `None`, as many as the histories share.
            is_followed: Whether its nodes tell what was said, by which the next request of its conversation is known.
            rules: Whose lookback rules hold; told from the model's id if not given.
            count: Counts the tokens of a block; without it, they are estimated from bytes.
            bytes_per_token: What they are estimated with.

        Raises:
            ValueError: Something in it cannot be written as JSON.
        """
        messages: Sequence[Json] = request["messages"]
        if known is None:
            known = 0 if grown_from is None else _shared(grown_from.messages, messages)
        # Both the outline and the chain ask for the blocks of what is new.
        pieces = (
            messages.pieces
            if isinstance(messages, Messages)
            else cache(lambda index: pieces_of(messages[index]))
        )
        outline = (Outline() if grown_from is None else grown_from.outline.first(known)).grown(
            messages, pieces
        )
        row = model(request["model"])

        def tokens(block: Json) -> float:
            return text_length(block) / bytes_per_token if count is None else count(block)

        head, parts = None if grown_from is None else grown_from.head, None
        if head is None or not head.is_of(request):
            parts = _HeadParts.of(request)
            head = Head.of(request, parts)
        view = View.of(request, outline, row, tokens)
        fields: Mapping[str, Any] = {**head.fields, **key.toggles(outline)}
        nodes, kept = _NO_NODES, 0
        chain = _Chain(rules or platform(request["model"]), count, is_followed=is_followed)
        if grown_from is not None and grown_from.fields == fields:
            fields = grown_from.fields
            kept = min(known, view.alike(grown_from.view))
            nodes = grown_from.nodes.first(grown_from.nodes.before((kept, 0)))
        if nodes and nodes[-1].section == "messages":
            chain.go_on_after(nodes[-1])
            if not is_followed:
                # What stands between the two is not in the prompt, and is not read again.
                chain.after = (kept, 0)
        else:
            nodes = _NO_NODES.plus(_head_nodes(parts or _HeadParts.of(request), fields, chain))
            chain.salt(key.salt("messages", fields))
        return cls(
            model=row,
            fields=fields,
            nodes=nodes.plus(_message_nodes(messages, pieces, view, chain)),
            messages=messages,
            outline=outline,
            view=view,
            head=head,
            automatic=breakpoint_ttl({"cache_control": request.get("cache_control")}),
        )

    def index_of(self, node: Node) -> int | None:
        """Where a node of an earlier prompt stands in this one, if its whole prefix is still here."""
        return self.nodes.find(node)

    def changed(self, earlier: Mapping[str, Any]) -> tuple[str, ...]:
        """The names of what is not as in the fields of an earlier prompt: `model`, `tools`, `thinking`, ..."""
        if self.fields is earlier:
            return ()
        return tuple(name for name, value in self.fields.items() if earlier.get(name) != value)


def _place(node: Node) -> Place:
    """Where a node stands among the messages; what is before them all comes first."""
    return node.path[1:] if len(node.path) == 3 else (-1, node.path[1])  # noqa: PLR2004


def _shared(earlier: Sequence[Json], messages: Sequence[Json]) -> int:
    """How many messages are the very same as in an earlier prompt. Only a history knows that of its own."""
    return messages.shared(earlier) if isinstance(messages, Messages) else 0


def _digest(before: bytes, frame: bytes, written: bytes) -> bytes:
    """The digest of a prefix that goes on from another one."""
    return blake2b(before + frame + written, digest_size=16).digest()


@lru_cache
def _frame(of: str) -> bytes:
    """What tells whose words are mixed in; its length comes first, so that it cannot be taken for them."""
    encoded = of.encode()
    return len(encoded).to_bytes(8) + encoded


class _HeadParts(NamedTuple):
    """The tools and the system blocks of a request with their places, as far as they are in the prompt: deferred tools are
    not."""

    tools: Sequence[tuple[int, Piece]]
    system: Sequence[tuple[int, Piece]]

    @classmethod
    def of(cls, request: Json) -> Self:
        """Those of a request."""
        tools, system = enumerate(request.get("tools") or ()), enumerate(as_blocks(request.get("system")))
        return cls(
            [(at, Piece.of(tool)) for at, tool in tools if not tool.get("defer_loading")],
            [(at, Piece.of(block)) for at, block in system],
        )


def _head_nodes(parts: _HeadParts, fields: Mapping[str, Any], chain: "_Chain") -> Iterator[Node]:
    """The nodes of tools and system."""
    chain.salt(str(fields["model"]).encode() + key.salt("tools", fields))
    for place, tool in parts.tools:
        yield chain.node(("tools", place), _frame("tools"), tool, markable=True)
    chain.salt(key.salt("system", fields))
    for place, block in parts.system:
        yield chain.node(("system", place), _frame("system"), block, markable=is_markable(block.json))


def _message_nodes(messages: Sequence[Json], pieces: PiecesAt, view: View, chain: "_Chain") -> Iterator[Node]:
    """The nodes of the messages, from where the chain has come to."""
    first, start = chain.after
    for index in range(first, len(messages)):
        message = messages[index]
        frame, takes_breakpoints = _frame(_role(message)), _takes_breakpoints(message)
        is_read = start >= _count(message["content"])
        for place, piece in enumerate(() if is_read else pieces(index)[start:], start):
            chain.hear(frame, piece)
            shown = view.shown((index, place), message, piece.json)
            if shown is None:
                continue
            seen = piece if shown is piece.json else Piece.of(shown)
            yield chain.node(
                ("messages", index, place), frame, seen, markable=takes_breakpoints and piece.markable
            )
        start = 0


def _count(content: object) -> int:
    """How many blocks it stands for."""
    return len(content) if isinstance(content, (list, tuple)) else 1


def _role(message: Json) -> str:
    """Who speaks, and whatever else a message says of itself, such as the effort from there on."""
    if len(message) == 2:  # noqa: PLR2004 - a role and content
        return str(message["role"])
    rest = {name: value for name, value in message.items() if name not in {"role", "content"}}
    return f"{message['role']} {json.dumps(rest)}" if rest else str(message["role"])


def _takes_breakpoints(message: Json) -> bool:
    # A string becomes a block to carry a breakpoint; of the user's strings each is a tail once, so all of them do.
    if isinstance(message["content"], str) and message["role"] != "user":
        return False
    return not is_turn_scoped(message)


_RUNS: Final = frozenset({"tool_use", "tool_result"})


@attrs.define
class _Chain:
    """The digests, position and lengths at the end of the prefix read so far."""

    rules: Platform
    count: CountTokens | None
    is_followed: bool
    digest: bytes = b""
    said: bytes = b""
    position: int = 0
    size: int = 0
    length: int = 0
    run: str | None = None

    after: Place = (0, 0)
    """The block of the messages that is read next."""

    def go_on_after(self, last: Node) -> None:
        """Go on where a node of a message ended."""
        index, place = _place(last)
        self.digest, self.said, self.position = last.digest, last.said, last.position
        self.size, self.length = last.size, last.length
        self.run = last.kind
        self.after = index, place + 1

    def salt(self, value: bytes) -> None:
        """Take in what else is part of the key."""
        self.digest = _digest(self.digest, _frame("salt"), value)

    def hear(self, frame: bytes, piece: Piece) -> None:
        """Take in what the client says in a block, whether the model is shown it or not."""
        if self.is_followed:
            self.said = _digest(self.said, frame, piece.key)

    def node(self, path: Path, frame: bytes, piece: Piece, *, markable: bool) -> Node:
        """Take in a block that the model is shown."""
        kind = piece.kind
        self.digest = _digest(self.digest, frame, piece.key)
        self.size += len(piece.key)
        self.length += piece.length if self.count is None else self.count(piece.json)
        # Consecutive tool_use blocks are one position, and so are consecutive tool_result blocks.
        if kind != self.run or kind not in _RUNS or self.rules not in COLLAPSING_PLATFORMS:
            self.position += 1
        self.run = kind
        return Node(
            path,
            self.digest,
            self.said,
            self.position,
            self.size,
            self.length,
            markable,
            piece.own,
            piece.shared,
            kind,
        )
