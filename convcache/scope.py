"""A scope, the part of the world in which cache entries are shared, and what is known of it.

Commonly a client of the SDK: its server and its workspace. Sends nothing.
"""

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from threading import Lock
from weakref import WeakKeyDictionary

import attrs

from convcache.core.borders import Borders
from convcache.core.clock import CacheClock
from convcache.core.head import Heads
from convcache.core.volatile import Kind
from convcache.gate import Gate
from convcache.habits import Habits


@attrs.frozen
class Headroom:
    """How many input tokens the API takes for now, as it said with a reply.

    Attributes:
        remaining: Tokens.
        reset: When the limit is whole again.
    """

    remaining: int
    reset: datetime

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> "Headroom | None":
        """Read a reply's headers."""
        remaining = headers.get("anthropic-ratelimit-input-tokens-remaining", "")
        with suppress(ValueError):
            reset = datetime.fromisoformat(headers.get("anthropic-ratelimit-input-tokens-reset", ""))
            return cls(int(remaining), reset)
        return None


@attrs.define
class Scope:
    """What is known of a scope, the part of the world in which cache entries are shared.

    Attributes:
        warm: What is believed cached in it.
        borders: Where its prompts part.
        heads: What its latest prompts begin with.
        habits: What its conversations have shown of their rhythm.
        gate: Where requests that share a cold prefix pass one before the others.
        headroom: What was last told of the API's limit.
        refused: The models whose server has refused our breakpoints.
        unknown: The models that were told to be unknown.
        unstable: What was told to change by itself, by its place and kind.
    """

    warm: CacheClock = attrs.field(factory=CacheClock)
    borders: Borders = attrs.field(factory=Borders)
    heads: Heads = attrs.field(factory=Heads)
    habits: Habits = attrs.field(factory=Habits)
    gate: Gate = attrs.field(factory=Gate)
    headroom: Headroom | None = None
    refused: set[str] = attrs.field(factory=set)
    unknown: set[str] = attrs.field(factory=set)
    unstable: set[tuple[str, Kind]] = attrs.field(factory=set)


_scopes: WeakKeyDictionary[object, Scope] = WeakKeyDictionary()
_scopes_lock = Lock()


def scope_of(client: object) -> Scope:
    """The scope of a client. What other clients share with it is not known."""
    with _scopes_lock:
        scope = _scopes.get(client)
        if scope is None:
            scope = _scopes[client] = Scope()
        return scope
