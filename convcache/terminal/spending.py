"""What verifying costs in dollars: the price of a request as booked, and a purse that never gives out more.

Knows the catalogue's prices and what multiplies them (api-facts section 12). Must not know rules nor endpoints.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import attrs

from convcache.core import catalog
from convcache.core.catalog import Model, Prices
from convcache.core.usage import Usage

A_SEARCH: Final = Decimal("0.01")
"""One web search."""

_BATCH: Final = Decimal("0.5")
_GEOGRAPHY: Final = Decimal("1.1")
_MILLION: Final = Decimal(1_000_000)
_FOUND: Final = 30_000
"""Tokens that a web search may add to a prompt."""

_FAST: Final = {
    "opus-5-5": (Decimal(8), Decimal(40)),
    "opus-5": (Decimal(10), Decimal(50)),
    "opus-4-8": (Decimal(10), Decimal(50)),
}
"""Input and output price in fast mode."""


def dollars(model_id: str, usage: Mapping[str, Any]) -> Decimal | None:
    """What one request cost, or `None` for a model without known prices.

    Args:
        model_id: The model that answered.
        usage: What the API booked: tokens, tier, geography, speed and searches.
    """
    model = catalog.model(model_id)
    if usage.get("speed") == "fast":
        model = _fast(model)
    cost = Usage.of(usage).cost(model)
    if cost is None:
        return None
    if usage.get("service_tier") == "batch":
        cost *= _BATCH
    if usage.get("inference_geo") == "us":
        cost *= _GEOGRAPHY
    searches = (usage.get("server_tool_use") or {}).get("web_search_requests") or 0
    return cost + searches * A_SEARCH


def _fast(model: Model) -> Model:
    if model.prices is None or model.name not in _FAST:
        return model
    base, output = _FAST[model.name]
    scale = base / model.prices.input
    written = (model.prices.write_5m * scale, model.prices.write_1h * scale)
    return attrs.evolve(model, prices=Prices(base, *written, model.prices.read * scale, output))


@attrs.define
class Budget:
    """A purse that holds so many dollars.

    Attributes:
        limit: What may be spent.
        spent: What was booked.
    """

    limit: Decimal
    spent: Decimal = Decimal(0)

    def allows(self, model: str, *, prompt: int, output: int, searches: int) -> bool:
        """Whether the dearest these requests can become is left. A model without prices is not paid for."""
        dearest = _dearest(catalog.model(model))
        if dearest is None:
            return False
        tokens = (prompt + searches * _FOUND) * dearest.write_1h + output * dearest.output
        return self.spent + tokens / _MILLION * _GEOGRAPHY + searches * A_SEARCH <= self.limit

    def book(self, model: str, usage: Mapping[str, Any]) -> None:
        """Takes off what was billed."""
        self.spent += dollars(model, usage) or Decimal(0)


def _dearest(model: Model) -> Prices | None:
    fast = _fast(model)
    return fast.large_prompt[1] if fast.large_prompt is not None else fast.prices
