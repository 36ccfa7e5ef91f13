"""What a request has besides its messages, as far as it is part of the key: tools, the system prompt, and settings."""

from collections.abc import Mapping, Sequence
from operator import is_
from threading import Lock
from typing import Any, Final, Self

import attrs
from cachetools import LRUCache

from convcache.core import key
from convcache.core.blocks import Json, Ttl, as_blocks, as_bytes, is_markable, is_shared, unmarked
from convcache.core.node import Chain, Node, Nodes, digest_of, frame
from convcache.core.piece import Piece
from convcache.core.wire import MARKS

MAX_HEADS: Final = 16
"""Heads of the latest conversations that are kept: those of an application commonly share one, or a few."""

_NO_NODES: Final = Nodes()


@attrs.frozen
class Head:
    """Tools, the system prompt and settings of a request.

    Attributes:
        read: The values that it was read from, as the request has them.
        fields: What they make of the key, by the name a person calls it; tools and system by their digests.
        blocks: The tools and the system prompt without breakpoints.
        tools: The tools that are in the prompt, by their places; deferred ones are not.
        system: The blocks of the system prompt, likewise.
    """

    read: tuple[object, ...]
    fields: Mapping[str, Any]
    blocks: Mapping[str, Sequence[Json]]
    tools: Mapping[int, Piece]
    system: Mapping[int, Piece]
    _begun: dict[tuple[object, ...], tuple[object, Nodes, bytes]] = attrs.field(
        factory=dict, eq=False, repr=False
    )
    _written: dict[object, bytes] = attrs.field(factory=dict, eq=False, repr=False)

    @classmethod
    def of(cls, request: Json) -> Self:
        """Read that of a request.

        Raises:
            ValueError: Something in it cannot be written as JSON.
        """
        blocks = enumerate(request.get("tools") or ())
        tools = {at: Piece.of(tool) for at, tool in blocks if not tool.get("defer_loading")}
        system = {at: Piece.of(block) for at, block in enumerate(as_blocks(request.get("system")))}
        fields = {
            "model": request["model"],
            "tools": _digest(tools),
            "system": _digest(system),
            "context edits": request.get("context_management"),
            **key.values(request),
        }
        return cls(_values(request), fields, bare(request), tools, system)

    def read_from(self, values: tuple[object, ...]) -> Self:
        """The same one, read from other objects. What is kept of it is kept once."""
        return type(self)(
            values, self.fields, self.blocks, self.tools, self.system, self._begun, self._written
        )

    def is_of(self, request: Json) -> bool:
        """Whether a request has the very same objects."""
        return all(map(is_, self.read, _values(request)))

    def wire(self, section: str, ttls: Mapping[int, Ttl]) -> bytes | None:
        """The bytes of the tools or of the system prompt with breakpoints on some of the blocks; `None` of what it has not.
        They are kept."""
        if section not in self.blocks:
            return None
        marks = (section, *ttls.items())
        if marks not in self._written:
            wires = [Piece.of(block).wire for block in self.blocks[section]]
            for place, ttl in ttls.items():
                wires[place] = wires[place][:-1] + MARKS[ttl] + b"}"
            self._written[marks] = b"[" + b",".join(wires) + b"]"
        return self._written[marks]

    def begin(self, chain: Chain, toggles: Mapping[str, Any]) -> Nodes:
        """The nodes of tools and system, with which the chain of a prompt begins.

        Args:
            chain: One that has read nothing yet.
            toggles: What the messages tell of the key.
        """
        settings = (*toggles.values(), chain.rules)
        count, nodes, digest = self._begun.get(settings, (None, None, b""))
        if nodes is not None and count is chain.count:
            chain.go_on_behind(nodes, digest)
            return nodes
        fields = {**self.fields, **toggles}
        nodes = _NO_NODES.plus(self._chained(fields, chain))
        chain.salt(key.salt("messages", fields))
        self._begun[settings] = chain.count, nodes, chain.digest
        return nodes

    def _chained(self, fields: Mapping[str, Any], chain: Chain) -> list[Node]:
        chain.salt(str(fields["model"]).encode() + key.salt("tools", fields))
        nodes = [
            chain.node(("tools", place), _TOOLS, tool, markable=True) for place, tool in self.tools.items()
        ]
        chain.salt(key.salt("system", fields))
        for place, block in self.system.items():
            nodes.append(chain.node(("system", place), _SYSTEM, block, markable=is_markable(block.json)))
        return nodes


class Heads:
    """The heads of the latest conversations, each read once. Safe to share by threads."""

    def __init__(self) -> None:
        self._heads: LRUCache[bytes, Head] = LRUCache(MAX_HEADS)
        self._lock = Lock()

    def of(self, request: Json) -> Head:
        """That of a request.

        Raises:
            ValueError: Something in it cannot be written as JSON.
        """
        values = _values(request)
        # What is shared is declared besides: the same text may be shared from now on.
        shared = bytes(map(is_shared, as_blocks(request.get("system"))))
        name = as_bytes(values) + shared
        with self._lock:
            head = self._heads.get(name)
        if head is None:
            head = Head.of(request)
            with self._lock:
                self._heads[name] = head
        return head.read_from(values)


_TOOLS: Final = frame("tools")
_SYSTEM: Final = frame("system")


def _values(request: Json) -> tuple[object, ...]:
    return tuple(map(request.get, key.FIELDS))


def _digest(pieces: Mapping[int, Piece]) -> bytes:
    return digest_of(b"", b"", b",".join([piece.key for piece in pieces.values()]))


def bare(request: Json) -> Mapping[str, Sequence[Json]]:
    """The tools and the system prompt of a request without breakpoints."""
    sections = ((name, as_blocks(request[name])) for name in ("tools", "system") if request.get(name))
    return {name: tuple(map(unmarked, blocks)) for name, blocks in sections}
