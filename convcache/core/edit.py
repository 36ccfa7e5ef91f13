"""A change of the history: what it costs to make it, what it saves from then on, and when that is worth it."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Literal

import attrs

from convcache.core.planner import Plan

When = Literal["now", "cold", "pays"]
"""Make a change at once; when the cache has lapsed anyway; or when that, or as soon as it will pay."""

Change = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]
"""Gives the history that should be, as plain messages, from a copy of the one that is."""


@attrs.frozen(kw_only=True)
class Edit:
    """A change of the history, weighed.

    Attributes:
        tokens: Prompt tokens that it takes away.
        price: Dollars that the next request costs more with it than without, less than zero if it costs less; `None`
            for a model without known prices.
        saving: Dollars that each later request costs less.
        done: Whether it is made.
    """

    tokens: int
    price: Decimal | None
    saving: Decimal | None
    done: bool = False

    @classmethod
    def between(cls, before: Plan, after: Plan) -> "Edit":
        """The change from one history to another, as the next request would be planned for each."""
        tokens, prices = before.forecast.prompt - after.forecast.prompt, after.prompt.model.prices
        if before.cost is None or after.cost is None or prices is None:
            return cls(tokens=tokens, price=None, saving=None)
        return cls(tokens=tokens, price=after.cost - before.cost, saving=tokens * prices.read / 1_000_000)

    def pays(self, *, requests: int) -> bool:
        """Whether it costs nothing, or no more than it saves over so many later requests."""
        if self.price is None or self.saving is None:
            return False
        return self.price <= self.saving * requests
