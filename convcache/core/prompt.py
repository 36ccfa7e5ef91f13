"""A request as the API's cache sees it: tools, then system, then messages, as one chain of digests.

Each block is a node whose digest names everything up to it, so two requests share a prefix exactly as far as
their nodes agree. Knows what is part of the key and what a lookback position is; nothing of what is cached.
"""

import hashlib
import json
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Final, Self

import attrs

from convcache.core.blocks import (
    THINKING_TYPES,
    Json,
    Ttl,
    as_blocks,
    breakpoint_ttl,
    canonical,
    is_markable,
    is_turn_scoped,
)
from convcache.core.catalog import COLLAPSING_PLATFORMS, Model, Platform, model, platform

KEYED_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "tools": ("workspace_id", "mcp_servers"),
    "system": ("speed", "container"),
    "messages": ("tool_choice", "thinking", "output_config", "context_management", "inference_geo"),
}
"""Request fields that are part of the key, by the first section they change (prompt-caching page, "What
invalidates the cache"). A changed field loses its section and all that follow; `messages` is also lost by the
first image."""


@attrs.frozen
class Node:
    """One block, as the end of a prefix.

    Attributes:
        path: Where the block stands in the request: `("messages", 3, 0)`.
        digest: Names the prefix up to and including this block.
        position: Its lookback position, counted from the start of the prompt.
        size: Bytes of the prefix, the measure that tokens are estimated from.
        markable: Whether the API takes a breakpoint here.
        own: The TTL of a breakpoint that the caller put here.
    """

    path: tuple[str, int] | tuple[str, int, int]
    digest: bytes
    position: int
    size: int
    markable: bool
    own: Ttl | None

    @property
    def section(self) -> str:
        """`tools`, `system` or `messages`."""
        return self.path[0]


@attrs.frozen(kw_only=True)
class Prompt:
    """The chain of a request's blocks.

    Attributes:
        model: The catalogue's row of the request's model.
        fields: By section, the digest of the section's own content and of the fields that are part of its key.
        nodes: The blocks in prompt order. Deferred tools and thinking that the model drops are not in the prompt.
        messages: The messages the chain was built from.
        has_images: Whether any message holds an image.
        loop_start: The index of the last message in which a person speaks, not only tool results.
        drops_thinking: Whether thinking before `loop_start` was left out.
    """

    model: Model
    fields: Mapping[str, bytes]
    nodes: tuple[Node, ...]
    messages: Sequence[Json]
    has_images: bool
    loop_start: int
    drops_thinking: bool

    @classmethod
    def of(cls, request: Json, *, grown_from: Self | None = None) -> Self:
        """Read a request body.

        Args:
            request: What `messages.create` takes, as plain JSON.
            grown_from: An earlier prompt of the same conversation. Where this one only goes on from it, its nodes
                are taken over and only the new messages are read.

        Raises:
            ValueError: Something in it cannot be written as JSON.
        """
        messages: Sequence[Json] = request["messages"]
        seen = _shared_messages(grown_from, messages)
        images_seen = grown_from is not None and seen > 0 and grown_from.has_images
        has_images = images_seen or any(_has_image(message["content"]) for message in messages[seen:])
        row, loop_start = model(request["model"]), _loop_start(messages)
        prompt = cls(
            model=row,
            fields=_fields(request, has_images=has_images),
            nodes=(),
            messages=messages,
            has_images=has_images,
            loop_start=loop_start,
            drops_thinking=not row.keeps_thinking and _has_thinking(messages[:loop_start]),
        )
        if grown_from is not None and seen and prompt._reads_alike(grown_from):
            chain = _Chain.after(grown_from, platform(request["model"]))
            return attrs.evolve(prompt, nodes=(*grown_from.nodes, *_message_nodes(prompt, chain, start=seen)))
        chain = _Chain(b"", platform(request["model"]))
        head = tuple(_head_nodes(request, chain))
        return attrs.evolve(prompt, nodes=(*head, *_message_nodes(prompt, chain, start=0)))

    def _reads_alike(self, earlier: "Prompt") -> bool:
        """Whether the messages of both mean the same chain: same key, same thinking left out."""
        drops = self.drops_thinking or earlier.drops_thinking
        return self.fields == earlier.fields and (not drops or self.loop_start == earlier.loop_start)

    def index_of(self, node: Node) -> int | None:
        """Where a node of an earlier prompt stands in this one, if its whole prefix is still here."""
        index = bisect_left(self.nodes, node.size, key=attrgetter("size"))
        if index < len(self.nodes) and self.nodes[index].digest == node.digest:
            return index
        return None


def _shared_messages(earlier: Prompt | None, messages: Sequence[Json]) -> int:
    """How many messages an earlier prompt shares with these: all of its own, or none.

    The messages of a conversation are values that only it makes, so where one of them stands in the same place
    again, all before it do too.
    """
    count = 0 if earlier is None else len(earlier.messages)
    if earlier is None or not 0 < count <= len(messages):
        return 0
    return count if messages[count - 1] is earlier.messages[count - 1] else 0


def _digest(*parts: bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return digest.digest()


def _fields(request: Json, *, has_images: bool) -> dict[str, bytes]:
    keyed = {section: _keyed(request, names) for section, names in KEYED_FIELDS.items()}
    return {
        "model": str(request["model"]).encode(),
        "tools": _digest(keyed["tools"], *(canonical(tool) for _, tool in _tools(request))),
        "system": _digest(keyed["system"], *(canonical(block) for block in as_blocks(request.get("system")))),
        "settings": _digest(keyed["messages"], b"images" if has_images else b""),
    }


def _keyed(request: Json, names: Sequence[str]) -> bytes:
    given = {name: request[name] for name in names if request.get(name) is not None}
    return json.dumps(given, separators=(",", ":")).encode()


def _tools(request: Json) -> list[tuple[int, Json]]:
    """The tools that are in the prompt, with their places in the request: deferred ones are not."""
    return [(i, tool) for i, tool in enumerate(request.get("tools") or ()) if not tool.get("defer_loading")]


def _has_image(content: object) -> bool:
    return not isinstance(content, str) and any(
        block.get("type") == "image"
        or (block.get("type") == "tool_result" and _has_image(block.get("content")))
        for block in as_blocks(content)
    )


def _has_thinking(messages: Sequence[Json]) -> bool:
    return any(
        block.get("type") in THINKING_TYPES for message in messages for block in as_blocks(message["content"])
    )


def _loop_start(messages: Sequence[Json]) -> int:
    """The last message in which a person speaks. Tool results alone go on with the turn they belong to."""
    for index in range(len(messages) - 1, -1, -1):
        message = messages[index]
        if message["role"] == "user" and any(
            block.get("type") != "tool_result" for block in as_blocks(message["content"])
        ):
            return index
    return 0


def _head_nodes(request: Json, chain: "_Chain") -> Iterator[Node]:
    """The nodes of tools and system."""
    chain.salt(str(request["model"]).encode() + _keyed(request, KEYED_FIELDS["tools"]))
    for index, tool in _tools(request):
        yield chain.node(("tools", index), "tools", tool, markable=True)
    chain.salt(_keyed(request, KEYED_FIELDS["system"]))
    for index, block in enumerate(as_blocks(request.get("system"))):
        yield chain.node(("system", index), "system", block, markable=is_markable(block))


def _message_nodes(prompt: Prompt, chain: "_Chain", *, start: int) -> Iterator[Node]:
    """The nodes of the messages from `start` on."""
    if start == 0:
        chain.salt(prompt.fields["settings"])
    for index in range(start, len(prompt.messages)):
        message = prompt.messages[index]
        dropping = prompt.drops_thinking and index < prompt.loop_start
        for place, block in enumerate(as_blocks(message["content"])):
            if dropping and block.get("type") in THINKING_TYPES:
                continue
            # A string would have to become a block to carry a breakpoint, and what was sent keeps its form.
            markable = (
                is_markable(block) and not isinstance(message["content"], str) and not is_turn_scoped(message)
            )
            yield chain.node(("messages", index, place), message["role"], block, markable=markable)


@attrs.define
class _Chain:
    """The digest, position and size at the end of the prefix read so far."""

    digest: bytes
    rules: Platform
    position: int = 0
    size: int = 0
    run: str | None = None

    @classmethod
    def after(cls, prompt: Prompt, rules: Platform) -> Self:
        last = prompt.nodes[-1]
        kind = as_blocks(prompt.messages[-1]["content"])[-1].get("type")
        return cls(last.digest, rules, last.position, last.size, kind)

    def salt(self, value: bytes) -> None:
        self.digest = _digest(self.digest, b"salt", value)

    def node(
        self, path: tuple[str, int] | tuple[str, int, int], role: str, block: Json, *, markable: bool
    ) -> Node:
        written = canonical(block)
        self.digest = _digest(self.digest, role.encode(), written)
        self.size += len(written)
        kind = block.get("type")
        if not self._collapses(kind):
            self.position += 1
        self.run = kind
        return Node(path, self.digest, self.position, self.size, markable, breakpoint_ttl(block))

    def _collapses(self, kind: object) -> bool:
        """Consecutive tool_use blocks are one position, and so are consecutive tool_result blocks."""
        in_run = kind == self.run and kind in {"tool_use", "tool_result"}
        return in_run and self.rules in COLLAPSING_PLATFORMS
