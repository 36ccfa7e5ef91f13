"""Tokens and money: what a request read from the cache, wrote to it and paid in full.

Knows the API's `usage` object and the catalogue's prices; nothing of prompts or conversations.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, Self

import attrs

from convcache.core.catalog import STANDARD, Model, Terms

_MILLION: Final = Decimal(1_000_000)


@attrs.frozen(kw_only=True)
class Usage:
    """The tokens of one request, or of several added up.

    Attributes:
        read: Prompt tokens read from the cache.
        written_5m: Prompt tokens written to the cache for five minutes.
        written_1h: Prompt tokens written to the cache for an hour.
        uncached: Prompt tokens neither read nor written, at the full input price.
        output: Tokens of the reply.
    """

    read: int = 0
    written_5m: int = 0
    written_1h: int = 0
    uncached: int = 0
    output: int = 0

    @classmethod
    def of(cls, usage: Mapping[str, Any]) -> Self:
        """Read the API's `usage`. Where it lists `iterations`, those are what is billed (compaction, advisors)."""
        iterations = usage.get("iterations")
        return sum(map(cls._of_one, iterations), start=cls()) if iterations else cls._of_one(usage)

    @classmethod
    def _of_one(cls, usage: Mapping[str, Any]) -> Self:
        written = usage.get("cache_creation_input_tokens") or 0
        written_1h = (usage.get("cache_creation") or {}).get("ephemeral_1h_input_tokens") or 0
        return cls(
            read=usage.get("cache_read_input_tokens") or 0,
            written_5m=written - written_1h,
            written_1h=written_1h,
            uncached=usage.get("input_tokens") or 0,
            output=usage.get("output_tokens") or 0,
        )

    def __add__(self, other: "Usage") -> Self:
        return type(self)(
            read=self.read + other.read,
            written_5m=self.written_5m + other.written_5m,
            written_1h=self.written_1h + other.written_1h,
            uncached=self.uncached + other.uncached,
            output=self.output + other.output,
        )

    @property
    def written(self) -> int:
        """Prompt tokens written to the cache, for either lifetime."""
        return self.written_5m + self.written_1h

    @property
    def cached(self) -> int:
        """Prompt tokens up to the last breakpoint: read or written."""
        return self.read + self.written_5m + self.written_1h

    @property
    def prompt(self) -> int:
        """All prompt tokens."""
        return self.read + self.written_5m + self.written_1h + self.uncached

    def cost(self, model: Model, terms: Terms = STANDARD) -> Decimal | None:
        """What this one request costs in dollars, or `None` for a model without known prices."""
        return Costs.of(self, model, terms).paid

    def uncached_cost(self, model: Model, terms: Terms = STANDARD) -> Decimal | None:
        """What the same request would cost in dollars if nothing were cached."""
        return Costs.of(self, model, terms).uncached


@attrs.frozen
class Costs:
    """What requests cost, in dollars. `None` where a model's prices are not known.

    Attributes:
        paid: As billed.
        uncached: The same requests if nothing were cached.
    """

    paid: Decimal | None = Decimal(0)
    uncached: Decimal | None = Decimal(0)

    @classmethod
    def of(cls, usage: Usage, model: Model, terms: Terms = STANDARD) -> Self:
        """The costs of one request."""
        prices = model.prices_at(usage.prompt, terms)
        if prices is None:
            return cls(None, None)
        reply = usage.output * prices.output
        paid = (
            usage.read * prices.read
            + usage.written_5m * prices.write_5m
            + usage.written_1h * prices.write_1h
            + usage.uncached * prices.input
            + reply
        )
        return cls(paid / _MILLION, (usage.prompt * prices.input + reply) / _MILLION)

    def __add__(self, other: "Costs") -> Self:
        return type(self)(_sum(self.paid, other.paid), _sum(self.uncached, other.uncached))


def _sum(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    return None if one is None or other is None else one + other


@attrs.frozen(kw_only=True)
class Bill:
    """What the API billed for one request.

    Attributes:
        total: All its tokens, those of the server's own iterations included (server tools, compaction).
        prompt: What the prompt that was sent read and wrote, before the server went on with it.
        terms: What it was served on.
    """

    total: Usage
    prompt: Usage = attrs.field(default=attrs.Factory(lambda bill: bill.total, takes_self=True))
    terms: Terms = STANDARD

    @classmethod
    def of(cls, usage: Mapping[str, Any]) -> Self:
        """Read the API's `usage`."""
        iterations, total = usage.get("iterations"), Usage.of(usage)
        terms = Terms(
            is_fast=usage.get("speed") == "fast",
            is_us=usage.get("inference_geo") == "us",
            is_batch=usage.get("service_tier") == "batch",
        )
        return cls(total=total, prompt=Usage.of(iterations[0]) if iterations else total, terms=terms)


@attrs.define
class UsageMeter:
    """Reads the usage of a streamed reply off its events, so that a stream left early is booked all the same.

    The first event carries the whole prompt's bill and the split by lifetime; later ones repeat the totals, with
    the reply's tokens so far and without the split.

    Attributes:
        complete: Whether the reply came to its end.
        stop_reason: Why the model stopped, once it has.
    """

    _usage: dict[str, Any] | None = None
    complete: bool = False
    stop_reason: str | None = None

    def feed(self, event: Mapping[str, Any]) -> None:
        """Take one event of the stream, as JSON."""
        match event.get("type"):
            case "message_start":
                self._usage = dict(event["message"].get("usage") or {})
                self.stop_reason = event["message"].get("stop_reason")
            case "message_delta" if self._usage is not None:
                news = event.get("usage") or {}
                self.stop_reason = (event.get("delta") or {}).get("stop_reason") or self.stop_reason
                self._usage.update({name: value for name, value in news.items() if value is not None})
            case "message_stop":
                self.complete = True

    @property
    def bill(self) -> Bill | None:
        """What is billed so far; `None` until the reply has started."""
        return None if self._usage is None else Bill.of(self._usage)
