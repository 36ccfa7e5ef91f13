"""Why a request read less than the one before it had left in the cache.

A closed vocabulary. Compares what was sent with what was sent before; knows nothing of what to do about it.
"""

from datetime import datetime
from enum import StrEnum

import attrs

from convcache.core.clock import TTL
from convcache.core.planner import Plan
from convcache.core.prompt import Node, Prompt
from convcache.core.usage import Usage


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

    HISTORY_CHANGED = "history_changed"
    """Messages that were sent before are no longer there, or are others."""

    EXPIRED = "expired"
    """The pause outlived the TTL."""

    UNKNOWN = "unknown"
    """The same prefix within its lifetime was not found: evicted, or never available to this request."""


@attrs.frozen
class Sent:
    """A request that was answered.

    Attributes:
        plan: What it was sent with.
        usage: What was billed for it.
        at: When it started.
    """

    plan: Plan
    usage: Usage
    at: datetime


def diagnose(before: Sent, now: Sent) -> Miss | None:
    """Why a request read less than the one before it in its conversation read and wrote.

    Returns:
        The reason, or `None` if it read all of that.
    """
    tail = before.plan.tail
    if tail is None or now.usage.read >= before.usage.cached:
        return None
    old, new = before.plan.prompt, now.plan.prompt
    return _changed_field(old, new) or _changed_history(tail, old, new) or _lapsed(before, now)


def _changed_field(before: Prompt, now: Prompt) -> Miss | None:
    reasons = (
        ("model", Miss.MODEL_CHANGED),
        ("tools", Miss.TOOLS_CHANGED),
        ("system", Miss.SYSTEM_CHANGED),
        ("settings", Miss.SETTINGS_CHANGED),
    )
    return next((reason for name, reason in reasons if before.fields[name] != now.fields[name]), None)


def _changed_history(tail: Node, before: Prompt, now: Prompt) -> Miss | None:
    if now.index_of(tail) is not None:
        return None
    dropped = now.drops_thinking and now.loop_start != before.loop_start
    return Miss.THINKING_DROPPED if dropped else Miss.HISTORY_CHANGED


def _lapsed(before: Sent, now: Sent) -> Miss:
    ttl = before.plan.breakpoints[-1].ttl
    return Miss.EXPIRED if now.at >= before.at + TTL[ttl] else Miss.UNKNOWN
