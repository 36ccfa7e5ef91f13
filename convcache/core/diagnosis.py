"""Why a request read less than the one before it had left in the cache, and what a change will throw away.

A closed vocabulary. Compares what is sent with what was sent before; knows nothing of what to do about it.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, Self

import attrs

from convcache.core.blocks import Ttl
from convcache.core.clock import TTL
from convcache.core.key import PARAMETERS
from convcache.core.node import Node
from convcache.core.planner import Plan
from convcache.core.usage import Usage
from convcache.core.view import View


class Miss(StrEnum):
    """The reason for a miss, in the order in which they are looked for."""

    MODEL_CHANGED = "model_changed"
    """Another model: caches are not shared between models."""

    TOOLS_CHANGED = "tools_changed"
    """A tool definition was added, removed, moved or edited, or a field that is rendered with the tools."""

    SYSTEM_CHANGED = "system_changed"
    """The system prompt is another, or a field that is rendered into it."""

    SETTINGS_CHANGED = "settings_changed"
    """A field that is part of the messages' key changed: thinking, effort, tool choice, the first image."""

    THINKING_DROPPED = "thinking_dropped"
    """The model drops earlier thinking when a person speaks again, and with it what was cached behind it."""

    CONTEXT_EDITED = "context_edited"
    """The server cleared old content, or put a summary in its place."""

    HISTORY_CHANGED = "history_changed"
    """Messages that were sent before are no longer there, or are others."""

    EXPIRED = "expired"
    """The pause outlived the TTL."""

    UNKNOWN = "unknown"
    """The same prefix within its lifetime was not found: evicted, or never available to this request."""


_MISSES: Final = {
    "model": Miss.MODEL_CHANGED,
    "tools": Miss.TOOLS_CHANGED,
    "system": Miss.SYSTEM_CHANGED,
    **{
        parameter.name: {
            "tools": Miss.TOOLS_CHANGED,
            "system": Miss.SYSTEM_CHANGED,
            "messages": Miss.SETTINGS_CHANGED,
        }[parameter.section]
        for parameter in PARAMETERS
    },
}


CLEARED_CONTENT: Final = "cleared content"
"""What has changed where a context edit that was asked for before does its work."""


@attrs.frozen(kw_only=True)
class Sent:
    """A request that was answered, as far as the next one is compared with it.

    Attributes:
        fields: What its key was made of besides blocks.
        tail: The last block that carried a breakpoint.
        ttl: The TTL asked for there.
        view: What the server left of its messages.
        was_tight: Whether it was told that it may not fit the context window.
        usage: What was billed for it.
        at: When it started.
    """

    fields: Mapping[str, Any]
    tail: Node | None
    ttl: Ttl
    view: View
    was_tight: bool
    usage: Usage
    at: datetime

    @classmethod
    def of(cls, plan: Plan, usage: Usage, at: datetime) -> Self:
        """What is remembered of a planned request."""
        return cls(
            fields=plan.prompt.fields,
            tail=plan.tail,
            ttl=plan.breakpoints[-1].ttl if plan.breakpoints else "5m",
            view=plan.prompt.view,
            was_tight=plan.is_tight,
            usage=usage,
            at=at,
        )

    def lapsed(self, at: datetime) -> bool:
        """Whether what it left in the cache is past its lifetime at `at`."""
        return at >= self.at + TTL[self.ttl]


@attrs.frozen
class Invalidation:
    """A warm cache that a request throws away because something in it changed.

    Attributes:
        changed: What changed, by the names of request fields: `model`, `tools`, `thinking`, ...
        tokens: How many cached tokens are lost.
        cost: Dollars for writing them again instead of reading them; `None` without known prices.
    """

    changed: tuple[str, ...]
    tokens: int
    cost: Decimal | None


def invalidation(before: Sent, plan: Plan, at: datetime) -> Invalidation | None:
    """What a planned request will throw away of what the one before it left, or `None` if nothing changed."""
    changed = plan.prompt.changed(before.fields)
    if plan.prompt.view.edits != before.view.edits:
        changed = (*changed, CLEARED_CONTENT)
    lost = before.usage.cached - plan.forecast.read
    if not changed or lost <= 0 or before.tail is None or before.lapsed(at):
        return None
    prices, cost = plan.prompt.model.prices, None
    if prices is not None:
        write = prices.write_1h if before.ttl == "1h" else prices.write_5m
        cost = lost * (write - prices.read) / 1_000_000
    return Invalidation(changed, lost, cost)


def diagnose(before: Sent, plan: Plan, usage: Usage, at: datetime) -> Miss | None:
    """Why a request read less than the one before it in its conversation read and wrote.

    Returns:
        The reason, or `None` if it read all of that.
    """
    if before.tail is None or usage.read >= before.usage.cached:
        return None
    for name in plan.prompt.changed(before.fields):
        if name in _MISSES:
            return _MISSES[name]
    if plan.prompt.nodes.find(before.tail) is None:
        return _rewritten(before.view, plan.prompt.view)
    return Miss.EXPIRED if before.lapsed(at) else Miss.UNKNOWN


def _rewritten(before: View, view: View) -> Miss:
    if view.edits != before.edits:
        return Miss.CONTEXT_EDITED
    return Miss.HISTORY_CHANGED if view == before else Miss.THINKING_DROPPED
