"""Where the breakpoints go, which TTL each gets, and what the request should then read and write.

A pure function of a prompt and of what is believed warm. What a breakpoint is for: the *tail* (the last block that
can be marked), the *anchor* (the tail of the last kept turn, marked again, so that no turn is too long for the
lookback), a *border* (the end of a part that others share), the *edge* (the end of what stays when the server next
leaves something out: the user message that opened a tool loop, on models that drop its thinking at the next one; the
block before the next tool result that a context edit clears), a *pin* (the end of an earlier turn that the user wants
to go back to), and the caller's *own*.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from functools import partial
from operator import attrgetter
from typing import Any, Final

import attrs

from convcache.core.blocks import Json, Ttl, marked
from convcache.core.catalog import LOOKBACK_POSITIONS, MAX_BREAKPOINTS
from convcache.core.clock import CacheClock, Entry
from convcache.core.head import bare
from convcache.core.node import Node, Nodes
from convcache.core.outline import Place
from convcache.core.policy import Policy, Slot
from convcache.core.prompt import BYTES_PER_TOKEN, Prompt
from convcache.core.usage import Usage
from convcache.core.view import loop_start
from convcache.core.wire import Marks, Messages, Written, marked_message

_SURELY: Final = 2
"""An estimate is never off by this factor, so a prefix estimated below the minimum divided by it is too short."""


@attrs.frozen
class Breakpoint:
    """One planned breakpoint.

    Attributes:
        node: Where it stands in the prompt.
        slot: What it is for.
        ttl: How long what is written up to it should live.
    """

    node: Node
    slot: Slot
    ttl: Ttl


@attrs.frozen(kw_only=True)
class Landmarks:
    """What is known of a request besides itself: places in its conversation that are worth a breakpoint.

    Attributes:
        anchor: The tail of the last kept turn, from the prompt of that turn.
        pins: The ends of earlier turns that the user wants to go back to.
        parting: The message at which forks of the conversation part.
        lifetime: How long the tail should live, if the policy leaves that open; `None` if nobody will read it.
    """

    anchor: Node | None = None
    pins: Sequence[Node] = ()
    parting: int | None = None
    lifetime: Ttl | None = "5m"


@attrs.frozen
class Plan:
    """What to mark in a request, and what that should cost.

    Attributes:
        prompt: The request, as the cache sees it.
        breakpoints: In prompt order; at most four, with TTLs that never rise.
        hit: The node whose entry should be read, if one is believed warm within reach.
        forecast: The prompt tokens that should be read, written and left uncached (`output` is 0).
        is_tight: Whether the prompt and the longest reply may not fit the model's context window together.
    """

    prompt: Prompt
    breakpoints: tuple[Breakpoint, ...]
    hit: Node | None
    forecast: Usage
    is_tight: bool = False

    @property
    def tail(self) -> Node | None:
        """The last marked block: the whole prefix up to it is in the cache once the reply starts."""
        return self.breakpoints[-1].node if self.breakpoints else None

    @property
    def cost(self) -> Decimal | None:
        """What the prompt should cost in dollars; `None` for a model without known prices."""
        return self.forecast.cost(self.prompt.model)

    def marked(self, request: Json) -> dict[str, Any]:
        """The request body with exactly the planned breakpoints. The input is not changed."""
        body = {**request}
        body.pop("cache_control", None)
        head = self.prompt.head
        is_the_same = head.is_of(request)
        for section, blocks in (head.blocks if is_the_same else bare(request)).items():
            body[section] = [*blocks]
        marks: dict[int, dict[int, Ttl]] = {}
        for node in self.prompt.nodes.own:
            if node.section == "messages":
                marks[node.path[1]] = {}
        in_head: dict[str, dict[int, Ttl]] = {}
        for point in self.breakpoints:
            section, index, *place = point.node.path
            if place:
                marks.setdefault(index, {})[place[0]] = point.ttl
            else:
                body[section][index] = marked(body[section][index], point.ttl)
                in_head.setdefault(section, {})[index] = point.ttl
        messages = request["messages"]
        if isinstance(messages, Messages):
            wire = (lambda name: head.wire(name, in_head.get(name, {}))) if is_the_same else None
            body["messages"] = Written(messages, marks, wire)
        else:
            body["messages"] = self._marked_messages(messages, marks)
        return body

    def _marked_messages(self, messages: Sequence[Json], marks: Marks) -> list[Json]:
        spine = list(messages)
        for index in {*self.prompt.outline.messages("words"), *marks}:
            spine[index] = marked_message(spine[index], marks.get(index, {}))
        return spine


def _nowhere(_: Node) -> bool:
    return False


def plan(
    prompt: Prompt,
    warm: CacheClock,
    *,
    at: datetime,
    policy: Policy,
    landmarks: Landmarks = Landmarks(),
    is_border: Callable[[Node], bool] = _nowhere,
    bytes_per_token: float | None = BYTES_PER_TOKEN,
) -> Plan:
    """Choose the breakpoints of a request and forecast its bill.

    Args:
        prompt: The request.
        warm: What is believed cached in the scope the request goes to.
        at: When the request starts.
        policy: What the user chose.
        landmarks: What is known of its conversation.
        is_border: Whether the prompts of others are known to part after a node.
        bytes_per_token: What tokens are estimated from lengths with; `None` where lengths are counted tokens.
    """
    if policy.observing:
        breakpoints = _as_written(prompt)
    else:
        shortest = _shortest(prompt, policy, bytes_per_token)
        chosen: dict[int, Breakpoint] = {}
        for point in _candidates(prompt, landmarks, is_border, policy):
            if point.node.number not in chosen and point.node.length >= shortest:
                chosen[point.node.number] = _as_held(point, warm, at)
            if len(chosen) == MAX_BREAKPOINTS:
                break
        breakpoints = _with_falling_ttls([*map(chosen.__getitem__, sorted(chosen))])
    return forecast(prompt, breakpoints, warm, at=at, bytes_per_token=bytes_per_token)


def forecast(
    prompt: Prompt,
    breakpoints: tuple[Breakpoint, ...],
    warm: CacheClock,
    *,
    at: datetime,
    bytes_per_token: float | None,
) -> Plan:
    """The plan of a request with these breakpoints; see `plan`."""
    hit = reach(prompt.nodes, breakpoints, partial(warm.warm, at=at))
    entry = None if hit is None else warm.warm(hit.digest, at)
    bill = _bill(prompt, breakpoints, hit, entry, bytes_per_token or 1)
    return Plan(prompt, breakpoints, hit, bill)


def _as_written(prompt: Prompt) -> tuple[Breakpoint, ...]:
    """The caller's own breakpoints, the top-level one included, as they stand."""
    own = {node: node.own for node in prompt.nodes.own if node.markable and node.own}
    if prompt.automatic is not None:
        last = next(filter(_MARKABLE, reversed(prompt.nodes)), None)
        if last is not None:
            own.setdefault(last, prompt.automatic)
    return tuple(Breakpoint(node, "own", own[node]) for node in sorted(own))


def _shortest(prompt: Prompt, policy: Policy, bytes_per_token: float | None) -> float:
    """How long a prefix has to be to be cached, and for reading it to save enough."""
    # Counted tokens leave no doubt; estimated ones must not cost a prefix its breakpoint.
    shortest = prompt.model.minimum * (1 if bytes_per_token is None else bytes_per_token / _SURELY)
    prices = prompt.model.prices
    if prices is not None and policy.min_saving > 0:
        tokens = policy.min_saving * 1_000_000 / (prices.input - prices.read)
        shortest = max(shortest, float(tokens) * (bytes_per_token or 1))
    return shortest


def _candidates(
    prompt: Prompt, landmarks: Landmarks, is_border: Callable[[Node], bool], policy: Policy
) -> Iterator[Breakpoint]:
    """Every place worth a breakpoint, the one that saves most first, with the TTL asked for there."""
    tail = tail_of(prompt.nodes)
    for node, slot in _places(prompt, tail, landmarks, is_border):
        if node is None or slot not in policy.slots or (slot == "own" and policy.own != "keep"):
            continue
        asked = node.own or (prompt.automatic if node is tail else None)
        chosen = _ttl(slot, landmarks) if policy.ttl == "auto" else policy.ttl
        ttl = (policy.own == "keep" and asked) or chosen
        if ttl is not None:
            yield Breakpoint(node, slot, ttl)


def _ttl(slot: Slot, landmarks: Landmarks) -> Ttl | None:
    return landmarks.lifetime if slot == "tail" else "5m"


def _places(
    prompt: Prompt, tail: Node | None, landmarks: Landmarks, is_border: Callable[[Node], bool]
) -> Iterator[tuple[Node | None, Slot]]:
    yield tail, "tail"
    nodes = prompt.nodes
    anchor = None if landmarks.anchor is None else nodes.find(landmarks.anchor)
    if tail is not None and anchor is not None and _is_out_of_reach(anchor, tail):
        yield anchor, "anchor"
    if landmarks.parting is not None:
        yield _last_markable(prompt, (landmarks.parting, 0)), "border"
    borders = _borders(nodes, is_border)
    for border in reversed(borders):
        yield border, "border"
    head_end = _head_end(nodes)
    if not borders:
        yield head_end, "border"
    yield anchor, "anchor"
    for pin in reversed(landmarks.pins):
        yield nodes.find(pin), "pin"
    yield _edge(prompt), "edge"
    for node in reversed(nodes.own):
        if node.markable:
            yield node, "own"
    yield head_end, "border"


def _is_out_of_reach(old: Node, tail: Node) -> bool:
    """Whether looking back from the tail does not find what ends there."""
    return tail.position - old.position >= LOOKBACK_POSITIONS


def _borders(nodes: Nodes, is_border: Callable[[Node], bool]) -> list[Node]:
    """Where the prompts of others part from this one: declared anywhere, learned up to the end of the first message."""
    borders = {*nodes.shared}
    for node in nodes:
        if node.number >= nodes.head and node.path[1] > 0:
            break
        if is_border(node):
            borders.add(node)
    return sorted(filter(_MARKABLE, borders))


def _head_end(nodes: Nodes) -> Node | None:
    """The end of what every request of the conversation shares: of the system prompt, else of the tools."""
    return next(filter(_MARKABLE, nodes.back_from(nodes.head)), None)


def tail_of(nodes: Nodes) -> Node | None:
    """The last block of the messages that can be marked."""
    last = next(filter(_MARKABLE, reversed(nodes)), None)
    return None if last is None or last.number < nodes.head else last


_MARKABLE: Final = attrgetter("markable")


def upgrading(
    prompt: Prompt, placeholder: int, warm: CacheClock, *, at: datetime, bytes_per_token: float | None
) -> Plan | None:
    """The plan of a request that writes the last reply for an hour: everything before the user's placeholder.

    Args:
        prompt: The conversation with a placeholder of the user's at its end.
        placeholder: Its message.
        warm: What is believed cached.
        at: When the request starts.
        bytes_per_token: What tokens are estimated from lengths with; `None` where lengths are counted tokens.

    Returns:
        The plan, or `None` if there is nothing to write, or if it would not read what is warm.
    """
    nodes, end = prompt.nodes, _last_markable(prompt, (placeholder, 0))
    if end is None:
        return None
    before = nodes.back_from(end.number)
    held = next((node for node in before if warm.warm(node.digest, at) is not None), None)
    places = {place for place in (_head_end(nodes), held, end) if place is not None}
    breakpoints = tuple(
        Breakpoint(place, "tail" if place is end else "anchor", "1h") for place in sorted(places)
    )
    plan = forecast(prompt, breakpoints, warm, at=at, bytes_per_token=bytes_per_token)
    return None if plan.hit is None or plan.hit is not held else plan


def _edge(prompt: Prompt) -> Node | None:
    """The last block that stays as it is when the server next leaves something out."""
    if prompt.view.edge is not None:
        return _last_markable(prompt, prompt.view.edge)
    if prompt.model.keeps_thinking:
        return None
    # The user message that opened the tool loop: the running one, or, where a person has just spoken and thinking
    # was dropped, the one before. Nothing before it changed.
    start = loop_start(prompt.outline)
    if start == len(prompt.messages) - 1:
        start = (prompt.outline.last("speech", before=start) or (0, 0))[0]
    return _last_markable(prompt, (start + 1, 0), since=start)


def _last_markable(prompt: Prompt, place: Place, *, since: int = 0) -> Node | None:
    """The last block of the messages that can be marked, before a place and in no message before `since`."""
    nodes = prompt.nodes
    last = next(filter(_MARKABLE, nodes.back_from(nodes.before(place))), None)
    return None if last is None or last.number < nodes.head or last.path[1] < since else last


def _as_held(point: Breakpoint, warm: CacheClock, at: datetime) -> Breakpoint:
    """What is held for an hour is asked for for an hour again."""
    entry = warm.warm(point.node.digest, at) if point.slot != "own" else None
    return attrs.evolve(point, ttl="1h") if entry is not None and entry.ttl == "1h" else point


def _with_falling_ttls(points: Sequence[Breakpoint]) -> tuple[Breakpoint, ...]:
    """The API refuses 1h after 5m, so whatever stands before an hour is promoted to it."""
    for last in range(len(points) - 1, 0, -1):
        if points[last].ttl == "1h":
            return (*[attrs.evolve(point, ttl="1h") for point in points[:last]], *points[last:])
    return tuple(points)


def reach(nodes: Nodes, points: Sequence[Breakpoint], is_held: Callable[[bytes], object]) -> Node | None:
    """The longest prefix that the server finds, if it holds these: from the last breakpoint to the first, it looks
    back over the positions before each."""
    for point in reversed(points):
        first = point.node.position - LOOKBACK_POSITIONS + 1
        for node in nodes.back_from(point.node.number + 1):
            if node.position < first:
                break
            if is_held(node.digest):
                return node
    return None


def _bill(
    prompt: Prompt,
    points: Sequence[Breakpoint],
    hit: Node | None,
    entry: Entry | None,
    bytes_per_token: float,
) -> Usage:
    """The bill by the documents: read up to the longest hit, write up to the last breakpoint, pay for the rest."""
    read = 0 if entry is None else entry.tokens
    read_length = 0 if hit is None else hit.length

    def tokens(node: Node) -> int:
        return read + max(0, round((node.length - read_length) / bytes_per_token))

    nodes, minimum = prompt.nodes, prompt.model.minimum
    total = tokens(nodes[-1]) if nodes else 0
    end, hour_end = None, read
    for point in points:
        if (written := tokens(point.node)) >= minimum:
            end, hour_end = written, written if point.ttl == "1h" else hour_end
    if end is None:
        return Usage(uncached=total)
    return Usage(read=read, written_1h=hour_end - read, written_5m=end - hour_end, uncached=total - end)
