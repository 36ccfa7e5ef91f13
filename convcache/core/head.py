"""What a request has besides its messages, as far as it is part of the key: tools, the system prompt, and settings."""

import marshal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from operator import is_, itemgetter
from threading import Lock
from typing import Any, Final, NamedTuple, Self

import attrs
from cachetools import LRUCache

from convcache.core import key
from convcache.core.blocks import Json, Ttl, as_blocks, as_bytes, is_markable, is_shared, unmarked
from convcache.core.node import Chain, Node, Nodes, digest_of, frame
from convcache.core.piece import Piece
from convcache.core.wire import spliced

MAX_BYTES: Final = 2_000_000
"""Bytes of the heads of the latest conversations that are kept: those of an application commonly share one, or a few."""

_FEW: Final = 4
"""Ways to mark a head of which the bytes are kept: commonly there is one."""

_NO_NODES: Final = Nodes()


class Parts(NamedTuple):
    """The tools and the system blocks that are in the prompt, by their places: deferred tools are not."""

    tools: Mapping[int, Piece]
    system: Mapping[int, Piece]

    @classmethod
    def of(cls, tools: Any, system: Any) -> Self:
        """Read them.

        Raises:
            ValueError: Something in them cannot be written as JSON.
        """
        shown = ((at, tool) for at, tool in enumerate(tools or ()) if not tool.get("defer_loading"))
        return cls(
            {at: Piece.of(tool) for at, tool in shown},
            {at: Piece.of(block) for at, block in enumerate(as_blocks(system))},
        )

    @property
    def layout(self) -> tuple[object, ...]:
        """What of them is no part of the key, but is told of their nodes."""
        return tuple([(at, piece.own, piece.shared) for part in self for at, piece in part.items()])


@attrs.frozen
class Head:
    """Tools, the system prompt and settings of a request.

    Attributes:
        read: The values that it was read from, as the request has them.
        fields: What they make of the key, by the name a person calls it; tools and system by their digests.
        blocks: The tools and the system prompt without breakpoints.
        layout: Where what is in the prompt stands, and the caller's own breakpoints there.
    """

    read: tuple[object, ...]
    fields: Mapping[str, Any]
    blocks: Mapping[str, Sequence[Json]]
    layout: tuple[object, ...]
    _begun: dict[tuple[object, ...], tuple[object, Nodes, bytes]] = attrs.field(
        factory=dict, eq=False, repr=False
    )
    _written: dict[object, bytes] = attrs.field(factory=dict, eq=False, repr=False)

    @classmethod
    def of(cls, request: Json, parts: Parts) -> Self:
        """That of a request, which has these parts."""
        fields = {
            "model": request["model"],
            "tools": _digest(parts.tools),
            "system": _digest(parts.system),
            "context edits": request.get("context_management"),
            **key.values(request),
        }
        return cls(_values(request), fields, bare(request), parts.layout)

    def read_from(self, values: tuple[object, ...]) -> Self:
        """The same one, read from other objects. What is kept of it is kept once."""
        return type(self)(values, self.fields, self.blocks, self.layout, self._begun, self._written)

    def is_of(self, request: Json) -> bool:
        """Whether a request has the very same objects."""
        return all(map(is_, self.read, _values(request)))

    def wire(self, section: str, ttls: Mapping[int, Ttl]) -> bytes | None:
        """The bytes of the tools or of the system prompt with breakpoints on some of the blocks; `None` of what it has not.
        They are kept."""
        if section not in self.blocks:
            return None
        marks = (section, *ttls.items())
        written = self._written.get(marks)
        if written is None:
            wires = [Piece.of(block).wire for block in self.blocks[section]]
            for place, ttl in ttls.items():
                wires[place] = spliced(wires[place], ttl)
            written = b"[" + b",".join(wires) + b"]"
            if len(self._written) >= _FEW:
                self._written.clear()
            self._written[marks] = written
        return written

    def begin(self, chain: Chain, toggles: Mapping[str, Any], parts: Parts | None = None) -> Nodes:
        """The nodes of tools and system, with which the chain of a prompt begins.

        Args:
            chain: One that has read nothing yet.
            toggles: What the messages tell of the key.
            parts: Its parts, where they were just read.
        """
        settings = (*toggles.values(), chain.rules)
        count, nodes, digest = self._begun.get(settings, (None, None, b""))
        if nodes is not None and count is chain.count:
            chain.go_on_behind(nodes, digest)
            return nodes
        fields = {**self.fields, **toggles}
        nodes = _NO_NODES.plus(_chained(parts or Parts.of(*_PARTS(self.read)), fields, chain))
        chain.salt(key.salt("messages", fields))
        self._begun[settings] = chain.count, nodes, chain.digest
        return nodes


class Heads:
    """The heads of the latest conversations, each read once. Safe to share by threads."""

    def __init__(self) -> None:
        self._heads: LRUCache[bytes, tuple[Head, int]] = LRUCache(MAX_BYTES, getsizeof=itemgetter(1))
        self._lock = Lock()

    def read(self, request: Json) -> tuple[Head, Parts | None]:
        """That of a request, and its parts if they had to be read.

        Raises:
            ValueError: Something in it cannot be written as JSON.
        """
        values = _values(request)
        try:
            written = _told_apart(values)
        except (TypeError, ValueError):  # the SDK can write more than JSON, and so can who reads a head
            parts = Parts.of(*_PARTS(values))
            return Head.of(request, parts), parts
        # What is shared is declared besides: the same text may be shared from now on.
        shared = bytes(map(is_shared, as_blocks(request.get("system"))))
        name = blake2b(written + shared, digest_size=16).digest()
        with self._lock:
            known = self._heads.get(name)
        if known is not None:
            return known[0].read_from(values), None
        parts = Parts.of(*_PARTS(values))
        head = Head.of(request, parts)
        with self._lock, suppress(ValueError):  # of one that is too large
            self._heads[name] = head, len(written)
        return head, parts


def bare(request: Json) -> Mapping[str, Sequence[Json]]:
    """The tools and the system prompt of a request without breakpoints."""
    sections = ((name, as_blocks(request[name])) for name in ("tools", "system") if request.get(name))
    return {name: tuple(map(unmarked, blocks)) for name, blocks in sections}


_PARTS: Final = itemgetter(key.FIELDS.index("tools"), key.FIELDS.index("system"))
_TOOLS: Final = frame("tools")
_SYSTEM: Final = frame("system")


def _values(request: Json) -> tuple[object, ...]:
    return tuple(map(request.get, key.FIELDS))


_WITHOUT_REFERENCES: Final = 2
"""The format of `marshal` that writes equal values as equal bytes."""


def _told_apart(values: tuple[object, ...]) -> bytes:
    """Bytes that only these values have, in this order of keys and with these types of numbers.

    Raises:
        ValueError: Something in them cannot be written as JSON.
        TypeError: Something in them is not JSON.
    """
    try:
        # Much faster than JSON.
        return marshal.dumps(values, _WITHOUT_REFERENCES)  # type: ignore[arg-type]  # what it cannot write raises
    except ValueError:  # subclasses, such as the member of a StrEnum
        return as_bytes(values)


def _digest(pieces: Mapping[int, Piece]) -> bytes:
    return digest_of(b"", b"", b",".join([piece.key for piece in pieces.values()]))


def _chained(parts: Parts, fields: Mapping[str, Any], chain: Chain) -> list[Node]:
    chain.salt(str(fields["model"]).encode() + key.salt("tools", fields))
    nodes = [chain.node(("tools", at), _TOOLS, tool, markable=True) for at, tool in parts.tools.items()]
    chain.salt(key.salt("system", fields))
    for at, block in parts.system.items():
        nodes.append(chain.node(("system", at), _SYSTEM, block, markable=is_markable(block.json)))
    return nodes
