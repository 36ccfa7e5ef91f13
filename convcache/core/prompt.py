"""A request as the API's cache sees it: tools, then system, then messages, as one chain of digests.

Each block is a node whose digest names everything up to it, so two requests share a prefix exactly as far as
their nodes agree. Knows what is rendered and what a lookback position is; nothing of what is cached.
"""

import hashlib
import json
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, Self

import attrs

from convcache.core import key
from convcache.core.blocks import (
    Json,
    Ttl,
    as_blocks,
    breakpoint_ttl,
    canonical,
    is_markable,
    is_shared,
    is_turn_scoped,
    takes_own_breakpoint,
    text_length,
)
from convcache.core.catalog import COLLAPSING_PLATFORMS, Model, Platform, model, platform
from convcache.core.view import View
from convcache.core.wire import Messages

Path = tuple[str, int] | tuple[str, int, int]

CountTokens = Callable[[Json], int]
"""Tokens of one block. Without one, lengths are bytes, and tokens are estimated from them."""

BYTES_PER_TOKEN: Final = 4.0
"""The estimate before the first bill of a conversation; every bill then corrects it."""


@attrs.frozen
class Node:
    """One block, as the end of a prefix.

    Attributes:
        path: Where the block stands in the request: `("messages", 3, 0)`.
        digest: Names the prefix up to and including this block, with all that is part of its key.
        said: Names only what the messages up to here say, whatever the model, tools, system and settings.
        position: Its lookback position, counted from the start of the prompt.
        size: Bytes of the prefix.
        length: What tokens of the prefix are told from: counted tokens, or its bytes.
        markable: Whether the API takes a breakpoint here.
        own: The TTL of a breakpoint that the caller put here.
        shared: Whether the caller declared that others share the prompt up to here.
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

    @property
    def section(self) -> str:
        """`tools`, `system` or `messages`."""
        return self.path[0]


@attrs.frozen(kw_only=True)
class Prompt:
    """The chain of a request's blocks.

    Attributes:
        model: The catalogue's row of the request's model.
        fields: What the key is made of besides the messages' blocks, by the name a person calls it.
        nodes: The blocks in prompt order. Deferred tools, and what the view leaves out, are not in the prompt.
        messages: The messages the chain was built from.
        view: What the server leaves of the messages.
        automatic: The TTL of a top-level breakpoint of the caller's.
    """

    model: Model
    fields: Mapping[str, Any]
    nodes: tuple[Node, ...]
    messages: Sequence[Json]
    view: View
    automatic: Ttl | None

    @classmethod
    def of(
        cls,
        request: Json,
        *,
        grown_from: Self | None = None,
        rules: Platform | None = None,
        count: CountTokens | None = None,
        bytes_per_token: float = BYTES_PER_TOKEN,
    ) -> Self:
        """Read a request body.

        Args:
            request: What `messages.create` takes, as plain JSON.
            grown_from: An earlier prompt of the same conversation. Where this one only goes on from it, its nodes
                are taken over and only the new messages are read.
            rules: Whose lookback rules hold; told from the model's id if not given.
            count: Counts the tokens of a block; without it, they are estimated from bytes.
            bytes_per_token: What they are estimated with.

        Raises:
            ValueError: Something in it cannot be written as JSON.
        """
        messages: Sequence[Json] = request["messages"]
        seen = _shared_messages(grown_from, messages)
        values = key.values({**request, "messages": messages[seen:]})
        if grown_from is not None and seen:
            values = key.grown(grown_from.fields, values)
        row = model(request["model"])

        def tokens(block: Json) -> float:
            return text_length(block) / bytes_per_token if count is None else count(block)

        prompt = cls(
            model=row,
            fields={**_head_fields(request), **values},
            nodes=(),
            messages=messages,
            view=View.of(request, row, tokens),
            automatic=breakpoint_ttl({"cache_control": request.get("cache_control")}),
        )
        chain = _Chain(rules or platform(request["model"]), count)
        if grown_from is not None and seen and prompt._reads_alike(grown_from):
            chain.go_on_after(grown_from)
            return attrs.evolve(prompt, nodes=(*grown_from.nodes, *_message_nodes(prompt, chain, start=seen)))
        head = tuple(_head_nodes(request, prompt.fields, chain))
        chain.salt(key.salt("messages", prompt.fields))
        return attrs.evolve(prompt, nodes=(*head, *_message_nodes(prompt, chain, start=0)))

    def _reads_alike(self, earlier: "Prompt") -> bool:
        """Whether the messages of both mean the same chain: same key, same parts left out."""
        return self.fields == earlier.fields and self.view == earlier.view

    def index_of(self, node: Node) -> int | None:
        """Where a node of an earlier prompt stands in this one, if its whole prefix is still here."""
        index = bisect_left(self.nodes, node.size, key=attrgetter("size"))
        if index < len(self.nodes) and self.nodes[index].digest == node.digest:
            return index
        return None

    def changed(self, earlier: Mapping[str, Any]) -> tuple[str, ...]:
        """The names of what is not as in the fields of an earlier prompt: `model`, `tools`, `thinking`, ..."""
        return tuple(name for name, value in self.fields.items() if earlier.get(name) != value)


def _shared_messages(earlier: Prompt | None, messages: Sequence[Json]) -> int:
    """How many messages an earlier prompt shares with these: all of its own, or none."""
    if earlier is None or not isinstance(messages, Messages) or not messages.goes_on_from(earlier.messages):
        return 0
    return len(earlier.messages)


def _digest(*parts: bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return digest.digest()


def _head_fields(request: Json) -> dict[str, Any]:
    return {
        "model": request["model"],
        "tools": _digest(*(canonical(tool) for _, tool in _tools(request))),
        "system": _digest(*(canonical(block) for block in as_blocks(request.get("system")))),
        "context edits": request.get("context_management"),
    }


def _tools(request: Json) -> list[tuple[int, Json]]:
    """The tools that are in the prompt, with their places in the request: deferred ones are not."""
    return [(i, tool) for i, tool in enumerate(request.get("tools") or ()) if not tool.get("defer_loading")]


def _head_nodes(request: Json, fields: Mapping[str, Any], chain: "_Chain") -> Iterator[Node]:
    """The nodes of tools and system."""
    chain.salt(str(request["model"]).encode() + key.salt("tools", fields))
    for index, tool in _tools(request):
        yield chain.node(("tools", index), "tools", tool, markable=True)
    chain.salt(key.salt("system", fields))
    for index, block in enumerate(as_blocks(request.get("system"))):
        yield chain.node(("system", index), "system", block, markable=is_markable(block))


def _message_nodes(prompt: Prompt, chain: "_Chain", *, start: int) -> Iterator[Node]:
    """The nodes of the messages from `start` on."""
    for index in range(start, len(prompt.messages)):
        message = prompt.messages[index]
        role, scoped = _role(message), is_turn_scoped(message)
        for place, block in enumerate(as_blocks(message["content"])):
            chain.hear(role, block)
            shown = prompt.view.shown((index, place), block)
            if shown is not None:
                markable = not scoped and _can_be_marked(message, block)
                yield chain.node(("messages", index, place), role, shown, markable=markable)


def _role(message: Json) -> str:
    """Who speaks, and whatever else a message says of itself, such as the effort from there on."""
    rest = {name: value for name, value in message.items() if name not in {"role", "content"}}
    return f"{message['role']} {json.dumps(rest)}" if rest else str(message["role"])


def _can_be_marked(message: Json, block: Json) -> bool:
    # A string becomes a block to carry a breakpoint; of the user's strings each is a tail once, so all of them do.
    if isinstance(message["content"], str) and message["role"] != "user":
        return False
    return is_markable(block) or takes_own_breakpoint(block)


@attrs.define
class _Chain:
    """The digests, position and lengths at the end of the prefix read so far."""

    rules: Platform
    count: CountTokens | None
    digest: bytes = b""
    said: bytes = b""
    position: int = 0
    size: int = 0
    length: int = 0
    run: str | None = None

    def go_on_after(self, prompt: Prompt) -> None:
        last = prompt.nodes[-1]
        self.digest, self.said, self.position = last.digest, last.said, last.position
        self.size, self.length = last.size, last.length
        self.run = as_blocks(prompt.messages[-1]["content"])[-1].get("type")

    def salt(self, value: bytes) -> None:
        self.digest = _digest(self.digest, b"salt", value)

    def hear(self, role: str, block: Json) -> None:
        """Take in what the client says, shown to the model or not."""
        self.said = _digest(self.said, role.encode(), canonical(block))

    def node(self, path: Path, role: str, block: Json, *, markable: bool) -> Node:
        written = canonical(block)
        self.digest = _digest(self.digest, role.encode(), written)
        self.size += len(written)
        self.length += text_length(block) if self.count is None else self.count(block)
        kind = block.get("type")
        if not self._collapses(kind):
            self.position += 1
        self.run = kind
        return Node(
            path=path,
            digest=self.digest,
            said=self.said,
            position=self.position,
            size=self.size,
            length=self.length,
            markable=markable,
            own=breakpoint_ttl(block),
            shared=is_shared(block),
        )

    def _collapses(self, kind: object) -> bool:
        """Consecutive tool_use blocks are one position, and so are consecutive tool_result blocks."""
        in_run = kind == self.run and kind in {"tool_use", "tool_result"}
        return in_run and self.rules in COLLAPSING_PLATFORMS
