"""Where the breakpoints go, which TTL each gets, and what the request should then read and write.

A pure function of a prompt and of what is believed warm. Slots, in the order they are given away: the *border*
(the end of what the whole conversation shares), the *tail* (the last block that can be marked), the *anchor* (the
tail of the last kept turn, marked again, so that no turn is too long for the lookback), the *opener* (the user
message that opened a tool loop, on models that drop thinking at the next one), and the caller's *own*.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal

import attrs

from convcache.core.blocks import Json, Ttl, as_blocks, marked, unmarked
from convcache.core.catalog import LOOKBACK_POSITIONS, MAX_BREAKPOINTS
from convcache.core.clock import CacheClock, Entry
from convcache.core.policy import Policy
from convcache.core.prompt import Node, Prompt
from convcache.core.usage import Usage

Slot = Literal["border", "tail", "anchor", "opener", "own"]

BYTES_PER_TOKEN: Final = 4.0
"""The estimate before the first bill of a conversation; every bill then corrects it."""

_SURELY: Final = 2
"""An estimate is never off by this factor, so a prefix estimated below the minimum divided by it is too short."""


@attrs.frozen
class Breakpoint:
    """One planned breakpoint.

    Attributes:
        index: Its node in the prompt.
        slot: What it is for.
        ttl: How long what is written up to it should live.
    """

    index: int
    slot: Slot
    ttl: Ttl


@attrs.frozen
class Plan:
    """What to mark in a request, and what that should cost.

    Attributes:
        prompt: The request, as the cache sees it.
        breakpoints: In prompt order; at most four, with TTLs that never rise.
        hit: The node whose entry should be read, if one is believed warm within reach.
        forecast: The prompt tokens that should be read, written and left uncached (`output` is 0).
    """

    prompt: Prompt
    breakpoints: tuple[Breakpoint, ...]
    hit: int | None
    forecast: Usage

    @property
    def tail(self) -> Node | None:
        """The last marked block: the whole prefix up to it is in the cache once the reply starts."""
        return self.prompt.nodes[self.breakpoints[-1].index] if self.breakpoints else None

    def marked(self, request: Json) -> dict[str, Any]:
        """The request body with exactly the planned breakpoints. The input is not changed."""
        ttls = {self.prompt.nodes[point.index].path: point.ttl for point in self.breakpoints}
        body = dict(request)
        for section in ("tools", "system"):
            if body.get(section):
                body[section] = list(_marked_blocks((section,), as_blocks(body[section]), ttls))
        body["messages"] = messages = list(request["messages"])
        own = {node.path for node in self.prompt.nodes if node.own is not None}
        for index in {path[1] for path in (*ttls, *own) if path[0] == "messages"}:
            blocks = _marked_blocks(("messages", index), as_blocks(messages[index]["content"]), ttls)
            messages[index] = {**messages[index], "content": list(blocks)}
        return body


def _marked_blocks(
    path: tuple[Any, ...], blocks: Sequence[Json], ttls: Mapping[tuple[Any, ...], Ttl]
) -> Iterator[Json]:
    for place, block in enumerate(blocks):
        ttl = ttls.get((*path, place))
        yield unmarked(block) if ttl is None else marked(unmarked(block), ttl)


def plan(
    prompt: Prompt,
    warm: CacheClock,
    *,
    at: datetime,
    policy: Policy,
    anchor: Node | None = None,
    bytes_per_token: float = BYTES_PER_TOKEN,
) -> Plan:
    """Choose the breakpoints of a request and forecast its bill.

    Args:
        prompt: The request.
        warm: What is believed cached in the scope the request goes to.
        at: When the request starts.
        policy: What the user chose.
        anchor: The tail of the last kept turn, from the prompt of that turn.
        bytes_per_token: What an estimate of tokens is made with.
    """
    shortest = prompt.model.minimum * bytes_per_token / _SURELY
    chosen: dict[int, Breakpoint] = {}
    for point in _candidates(prompt, anchor, policy):
        if len(chosen) < MAX_BREAKPOINTS and prompt.nodes[point.index].size >= shortest:
            chosen.setdefault(point.index, point)
    breakpoints = _with_falling_ttls([chosen[index] for index in sorted(chosen)])
    hit, entry = _hit(prompt.nodes, breakpoints, warm, at)
    forecast = _forecast(prompt, breakpoints, hit, entry, bytes_per_token)
    return Plan(prompt, breakpoints, hit, forecast)


def _candidates(prompt: Prompt, anchor: Node | None, policy: Policy) -> Iterator[Breakpoint]:
    """Every place worth a breakpoint, the most valuable first."""
    nodes = prompt.nodes
    if (border := _border(nodes)) is not None:
        yield Breakpoint(border, "border", nodes[border].own or policy.ttl)
    if (tail := _tail(nodes)) is not None:
        yield Breakpoint(tail, "tail", nodes[tail].own or policy.ttl)
    if anchor is not None and (index := prompt.index_of(anchor)) is not None:
        yield Breakpoint(index, "anchor", policy.ttl)
    if not prompt.model.keeps_thinking and (opener := _opener(prompt)) is not None:
        yield Breakpoint(opener, "opener", policy.ttl)
    for index in range(len(nodes) - 1, -1, -1):
        if (own := nodes[index].own) is not None and nodes[index].markable:
            yield Breakpoint(index, "own", own)


def _border(nodes: Sequence[Node]) -> int | None:
    """The end of what every request of the conversation shares: of the system prompt, else of the tools."""
    border = None
    for index, node in enumerate(nodes):
        if node.section == "messages":
            break
        if node.markable:
            border = index
    return border


def _tail(nodes: Sequence[Node]) -> int | None:
    for index in range(len(nodes) - 1, -1, -1):
        if nodes[index].section != "messages":
            break
        if nodes[index].markable:
            return index
    return None


def _opener(prompt: Prompt) -> int | None:
    """The last block of the user message that opened the running tool loop."""
    for index in range(len(prompt.nodes) - 1, -1, -1):
        node = prompt.nodes[index]
        if node.section != "messages" or node.path[1] < prompt.loop_start:
            return None
        if node.path[1] == prompt.loop_start and node.markable:
            return index
    return None


def _with_falling_ttls(points: Sequence[Breakpoint]) -> tuple[Breakpoint, ...]:
    """The API refuses 1h after 5m, so whatever stands before an hour is promoted to it."""
    last_hour = max((i for i, point in enumerate(points) if point.ttl == "1h"), default=-1)
    return tuple(attrs.evolve(point, ttl="1h") if i < last_hour else point for i, point in enumerate(points))


def _hit(
    nodes: Sequence[Node], points: Sequence[Breakpoint], warm: CacheClock, at: datetime
) -> tuple[int, Entry] | tuple[None, None]:
    """The entry the server should find: from the last breakpoint to the first, each looks back over the positions
    before it."""
    for point in reversed(points):
        first = nodes[point.index].position - LOOKBACK_POSITIONS + 1
        for index in range(point.index, -1, -1):
            if nodes[index].position < first:
                break
            entry = warm.warm(nodes[index].digest, at)
            if entry is not None:
                return index, entry
    return None, None


def _forecast(
    prompt: Prompt,
    points: Sequence[Breakpoint],
    hit: int | None,
    entry: Entry | None,
    bytes_per_token: float,
) -> Usage:
    """The bill by the documents: read up to the longest hit, write up to the last breakpoint, pay for the rest."""
    read = 0 if entry is None else entry.tokens
    read_size = 0 if hit is None else prompt.nodes[hit].size

    def tokens(node: Node) -> int:
        return read + max(0, round((node.size - read_size) / bytes_per_token))

    total = tokens(prompt.nodes[-1]) if prompt.nodes else 0
    end = tokens(prompt.nodes[points[-1].index]) if points else 0
    if end < prompt.model.minimum:
        return Usage(uncached=total)
    hour_end = max((tokens(prompt.nodes[point.index]) for point in points if point.ttl == "1h"), default=read)
    return Usage(read=read, written_1h=hour_end - read, written_5m=end - hour_end, uncached=total - end)
