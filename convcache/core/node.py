"""The blocks of a prompt as one chain of digests: each node names everything up to it, so two prompts share a prefix
exactly as far as their nodes agree.

Knows what is mixed into a digest and what a lookback position is; nothing of requests.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable
from functools import lru_cache
from hashlib import blake2b
from operator import attrgetter
from typing import Final, NamedTuple, Self

import attrs

from convcache.core.blocks import Json, Ttl
from convcache.core.catalog import COLLAPSING_PLATFORMS, Platform
from convcache.core.growing import Growing, find_late
from convcache.core.outline import Place
from convcache.core.piece import Piece

Path = tuple[str, int] | tuple[str, int, int]

CountTokens = Callable[[Json], int]
"""Tokens of one block. Without one, lengths are bytes, and tokens are estimated from them."""


class Node(NamedTuple):
    """One block, as the end of a prefix.

    Attributes:
        number: How many nodes stand before it, in every prompt that has its prefix.
        path: Where the block stands in the request: `("messages", 3, 0)`.
        digest: Names the prefix up to and including this block, with all that is part of its key.
        said: Names only what the messages up to here say, whatever the model, tools, system and settings; empty in a
            prompt that is not followed.
        position: Its lookback position, counted from the start of the prompt.
        length: What tokens of the prefix are told from: counted tokens, or its bytes.
        markable: Whether the API takes a breakpoint here.
        own: The TTL of a breakpoint that the caller put here.
        shared: Whether the caller declared that others share the prompt up to here.
        kind: The block's type.
    """

    number: int
    path: Path
    digest: bytes
    said: bytes
    position: int
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
        own: Those that carry a breakpoint of the caller's.
        shared: Those that the caller declared to be shared.
    """

    __slots__ = ("head", "own", "shared")

    def __init__(self) -> None:
        super().__init__()
        self.head, self.own, self.shared = 0, Growing[Node](), Growing[Node]()

    def plus(self, items: Iterable[Node]) -> Self:
        """These and more."""
        new = tuple(items)
        grown = super().plus(new)
        grown.head, grown.own, grown.shared = self.head, self.own, self.shared
        for node in new:
            if node.path[0] != "messages":
                grown.head = node.number + 1
            if node.own is not None:
                grown.own = grown.own.plus([node])
            if node.shared:
                grown.shared = grown.shared.plus([node])
        return grown

    def first(self, count: int) -> Self:
        """The first ones."""
        if count == len(self):
            return self
        cut = super().first(count)
        cut.head = min(self.head, count)
        cut.own, cut.shared = (
            all_.first(bisect_left(all_, count, key=attrgetter("number"))) for all_ in (self.own, self.shared)
        )
        return cut

    def before(self, place: Place) -> int:
        """How many stand before a place in the messages."""
        return find_late(self, place, place_of)

    def find(self, node: Node) -> Node | None:
        """A node of another prompt, if its whole prefix is here."""
        here = self[node.number] if node.number < len(self) else None
        return here if here is not None and here.digest == node.digest else None


def place_of(node: Node) -> Place:
    """Where a node stands among the messages; what is before them all comes first."""
    return node.path[1:] if len(node.path) == 3 else (-1, node.path[1])  # noqa: PLR2004 - a message and a block in it


def digest_of(before: bytes, frame: bytes, written: bytes) -> bytes:
    """The digest of a prefix that goes on from another one."""
    return blake2b(before + frame + written, digest_size=16).digest()


@lru_cache
def frame(of: str) -> bytes:
    """What tells whose words are mixed in; its length comes first, so that it cannot be taken for them."""
    encoded = of.encode()
    return len(encoded).to_bytes(8) + encoded


_RUNS: Final = frozenset({"tool_use", "tool_result"})


@attrs.define
class Chain:
    """The digests, position and lengths at the end of the prefix read so far."""

    rules: Platform
    count: CountTokens | None
    is_followed: bool
    number: int = 0
    digest: bytes = b""
    said: bytes = b""
    position: int = 0
    length: int = 0
    run: str | None = None

    after: Place = (0, 0)
    """The block of the messages that is read next."""

    def go_on_after(self, last: Node) -> None:
        """Go on where a node of a message ended."""
        index, place = place_of(last)
        self.number, self.digest, self.said = last.number + 1, last.digest, last.said
        self.position, self.length, self.run = last.position, last.length, last.kind
        self.after = index, place + 1

    def go_on_behind(self, head: Nodes, digest: bytes) -> None:
        """Go on where tools and system ended."""
        self.number, self.digest = len(head), digest
        if head:
            last = head[-1]
            self.position, self.length, self.run = last.position, last.length, last.kind

    def salt(self, value: bytes) -> None:
        """Take in what else is part of the key."""
        self.digest = digest_of(self.digest, frame("salt"), value)

    def hear(self, frame: bytes, piece: Piece) -> None:
        """Take in what the client says in a block, whether the model is shown it or not."""
        if self.is_followed:
            self.said = digest_of(self.said, frame, piece.key)

    def node(self, path: Path, frame: bytes, piece: Piece, *, markable: bool) -> Node:
        """Take in a block that the model is shown."""
        kind = piece.kind
        self.digest = digest_of(self.digest, frame, piece.key)
        self.length += piece.length if self.count is None else self.count(piece.json)
        # Consecutive tool_use blocks are one position, and so are consecutive tool_result blocks.
        if kind != self.run or kind not in _RUNS or self.rules not in COLLAPSING_PLATFORMS:
            self.position += 1
        self.run = kind
        self.number += 1
        return Node(
            self.number - 1,
            path,
            self.digest,
            self.said,
            self.position,
            self.length,
            markable,
            piece.own,
            piece.shared,
            kind,
        )
