"""A request as the API's cache sees it: tools, then system, then messages, as one chain of digests.

Each block is a node whose digest names everything up to it, so two requests share a prefix exactly as far as
their nodes agree. Knows what is rendered and what a lookback position is; nothing of what is cached.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final, Self

import attrs

from convcache.core import key
from convcache.core.blocks import Json, Ttl, breakpoint_ttl, is_turn_scoped, text_length
from convcache.core.catalog import Model, Platform, model, platform
from convcache.core.head import Head, Heads
from convcache.core.node import Chain, CountTokens, Node, Nodes, frame
from convcache.core.outline import Outline, PiecesAt
from convcache.core.piece import Piece, pieces_of
from convcache.core.view import View
from convcache.core.wire import Messages

BYTES_PER_TOKEN: Final = 4.0
"""The estimate before the first bill of a conversation; every bill then corrects it."""


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
        heads: Heads | None = None,
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
            heads: Those of other conversations, one of which it may begin with.
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
            head, parts = (heads or Heads()).read(request)
        view = View.of(request, outline, row, tokens)
        toggles = key.toggles(outline)
        fields: Mapping[str, Any] = {**head.fields, **toggles}
        chain = Chain(rules or platform(request["model"]), count, is_followed=is_followed)
        nodes: Nodes | None = None
        if grown_from is not None and grown_from.fields == fields and grown_from.head.layout == head.layout:
            fields = grown_from.fields
            kept = min(known, view.alike(grown_from.view))
            nodes = grown_from.nodes.first(grown_from.nodes.before((kept, 0)))
            if len(nodes) > nodes.head:
                chain.go_on_after(nodes[-1])
                if not is_followed:
                    # What stands between the two is not in the prompt, and is not read again.
                    chain.after = (kept, 0)
        if nodes is None or len(nodes) == nodes.head:
            nodes = head.begin(chain, toggles, parts)
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

    def changed(self, earlier: Mapping[str, Any]) -> tuple[str, ...]:
        """The names of what is not as in the fields of an earlier prompt: `model`, `tools`, `thinking`, ..."""
        if self.fields is earlier:
            return ()
        return tuple(name for name, value in self.fields.items() if earlier.get(name) != value)


def _shared(earlier: Sequence[Json], messages: Sequence[Json]) -> int:
    """How many messages are the very same as in an earlier prompt. Only a history knows that of its own."""
    return messages.shared(earlier) if isinstance(messages, Messages) else 0


def _message_nodes(messages: Sequence[Json], pieces: PiecesAt, view: View, chain: Chain) -> Iterator[Node]:
    """The nodes of the messages, from where the chain has come to."""
    first, start = chain.after
    for index in range(first, len(messages)):
        message = messages[index]
        speaker, takes_breakpoints = frame(_role(message)), _takes_breakpoints(message)
        is_read = start >= _count(message["content"])
        for place, piece in enumerate(() if is_read else pieces(index)[start:], start):
            chain.hear(speaker, piece)
            shown = view.shown((index, place), message, piece.json)
            if shown is None:
                continue
            seen = piece if shown is piece.json else Piece.of(shown)
            yield chain.node(
                ("messages", index, place), speaker, seen, markable=takes_breakpoints and piece.markable
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
