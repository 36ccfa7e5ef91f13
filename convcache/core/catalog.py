"""What the documents say of each model and platform: minimum, prices, thinking, lookback.

Every row is data with its source. Nothing here knows a request, a conversation or a clock.
"""

import re
from decimal import Decimal
from functools import lru_cache
from typing import Final, Literal

import attrs

Platform = Literal["claude", "bedrock"]
"""Whose lookback rules apply: the Claude API's, or Amazon Bedrock's, which the other clouds are taken to share."""

MAX_BREAKPOINTS: Final = 4
"""Prompt-caching page, "How many breakpoints": up to 4 in a request, the top-level one counted."""

LOOKBACK_POSITIONS: Final = 20
"""Prompt-caching page: a breakpoint is tested, then 19 positions before it."""

COLLAPSING_PLATFORMS: Final = frozenset[Platform]({"claude"})
"""Where a run of tool_use, or of tool_result, counts as one lookback position (Claude API, since September 2026)."""


@attrs.frozen
class Prices:
    """Dollars per million tokens.

    Attributes:
        input: Tokens that were neither read from the cache nor written to it.
        write_5m: Tokens written for five minutes.
        write_1h: Tokens written for an hour.
        read: Tokens read from the cache.
        output: Tokens of the reply.
    """

    input: Decimal
    write_5m: Decimal
    write_1h: Decimal
    read: Decimal
    output: Decimal

    def times(self, factor: Decimal) -> "Prices":
        """All of them multiplied."""
        return Prices(*(price * factor for price in attrs.astuple(self)))


@attrs.frozen(kw_only=True)
class Terms:
    """What a request was served on besides its model, as far as prices depend on it.

    Attributes:
        is_fast: In fast mode.
        is_us: Kept in the United States.
        is_batch: As part of a batch.
    """

    is_fast: bool = False
    is_us: bool = False
    is_batch: bool = False


STANDARD: Final = Terms()

_US: Final = Decimal("1.1")
_BATCH: Final = Decimal("0.5")


@attrs.frozen(kw_only=True)
class Model:
    """One model, as far as caching is concerned.

    Attributes:
        name: The id without date, platform prefix or version suffix.
        minimum: Shortest prefix in tokens that the API caches.
        keeps_thinking: Whether thinking of earlier turns stays in the prompt after a new user message.
        takes_system: Whether it takes messages of the role `system` in the middle of a conversation.
        window: How many tokens prompt and reply may have together; `None` for a model the catalogue does not know.
        prices: Its prices, or `None` for a model the catalogue does not know.
        large_prompt: From how many prompt tokens other prices hold for the whole request, and those prices.
        fast: Its prices in fast mode, where there is one.
    """

    name: str
    minimum: int
    keeps_thinking: bool
    takes_system: bool = False
    window: int | None = None
    prices: Prices | None
    large_prompt: tuple[int, Prices] | None = None
    fast: Prices | None = None

    def prices_at(self, prompt_tokens: int, terms: Terms = STANDARD) -> Prices | None:
        """The prices of a request with so many prompt tokens (uncached, read and written together) on such terms."""
        prices = self.fast if terms.is_fast else self.prices
        if self.large_prompt is not None and prompt_tokens > self.large_prompt[0]:
            prices = self.large_prompt[1]
        if prices is None:
            return None
        if terms.is_us:
            prices = prices.times(_US)
        return prices.times(_BATCH) if terms.is_batch else prices


def _prices(base: str, output: str, *, read: str) -> Prices:
    """Writes are 1.25 and 2 times the input price on every model; the read price is the model's own."""
    price = Decimal(base)
    return Prices(price, price * Decimal("1.25"), price * 2, Decimal(read), Decimal(output))


_FABLE_5_2 = _prices("8", "40", read="0.20")
_FABLE_5_1 = _prices("10", "50", read="0.25")
_FABLE_5 = _prices("10", "50", read="1.00")
_OPUS_5_5 = _prices("4", "20", read="0.20")
_OPUS = _prices("5", "25", read="0.50")
_OPUS_4 = _prices("15", "75", read="1.50")
_SONNET_5_5 = _prices("2", "10", read="0.10")
_SONNET_5 = _prices("2", "10", read="0.20")
_SONNET_4 = _prices("3", "15", read="0.30")
_HAIKU_5_5 = _prices("0.10", "0.50", read="0.01")
_HAIKU_5_5_LARGE = _prices("0.50", "2.50", read="0.05")
_HAIKU_4_5 = _prices("1", "5", read="0.10")
_HAIKU_3_5 = _prices("0.80", "4", read="0.08")

# Minimums: prompt-caching page 2026-09-26, and its copy of 2026-10-07 for the 5.5 models. Prices: pricing page of
# September 2026; the 5.2 models, Haiku 5.5 and Sonnet 5.5's read price from the tables of November 2026. Thinking:
# the thinking page 2026-09-26 (Opus 4.5+, Sonnet 4.6+, Fable and Mythos keep it). Assumed, for no page names them:
# the minimum of the 5.2 models, and that Haiku 5.5 keeps thinking.
_ROWS: Final[tuple[tuple[str, int, bool, Prices], ...]] = (
    ("fable-5-2", 512, True, _FABLE_5_2),
    ("mythos-5-2", 512, True, _FABLE_5_2),
    ("fable-5-1", 512, True, _FABLE_5_1),
    ("mythos-5-1", 512, True, _FABLE_5_1),
    ("fable-5", 512, True, _FABLE_5),
    ("mythos-5", 512, True, _FABLE_5),
    ("opus-5-5", 512, True, _OPUS_5_5),
    ("opus-5", 512, True, _OPUS),
    ("opus-4-8", 1024, True, _OPUS),
    ("opus-4-7", 2048, True, _OPUS),
    ("opus-4-6", 4096, True, _OPUS),
    ("opus-4-5", 4096, True, _OPUS),
    ("opus-4-1", 1024, False, _OPUS_4),
    ("opus-4", 1024, False, _OPUS_4),
    ("sonnet-5-5", 512, True, _SONNET_5_5),
    ("sonnet-5", 1024, True, _SONNET_5),
    ("sonnet-4-6", 1024, True, _SONNET_4),
    ("sonnet-4-5", 1024, False, _SONNET_4),
    ("sonnet-4", 1024, False, _SONNET_4),
    ("haiku-5-5", 512, True, _HAIKU_5_5),
    ("haiku-4-5", 4096, False, _HAIKU_4_5),
    ("haiku-3-5", 2048, False, _HAIKU_3_5),
)

_FAST: Final = {
    "opus-5-5": _prices("8", "40", read="0.40"),
    "opus-5": _prices("10", "50", read="1.00"),
    "opus-4-8": _prices("10", "50", read="1.00"),
}
"""Fast mode replaces the base prices; the multipliers of the cache stay."""

# Page on mid-conversation system messages, 2026-09. The 5.2 models are not named there.
_TAKING_SYSTEM: Final = frozenset(
    {"opus-4-8", "opus-5", "opus-5-5", "fable-5", "fable-5-1", "mythos-5", "mythos-5-1", "sonnet-5-5"}
)

# Context-windows page, 2026-09: a million tokens from the 4.6 models on, without a premium.
_WINDOW: Final = 1_000_000
_SMALL_WINDOW: Final = 200_000
_SMALL: Final = frozenset(
    {"opus-4-5", "opus-4-1", "opus-4", "sonnet-4-5", "sonnet-4", "haiku-4-5", "haiku-3-5"}
)

MODELS: Final = {
    name: Model(
        name=name,
        minimum=minimum,
        keeps_thinking=keeps,
        takes_system=name in _TAKING_SYSTEM,
        window=_SMALL_WINDOW if name in _SMALL else _WINDOW,
        prices=prices,
        large_prompt=(100_000, _HAIKU_5_5_LARGE) if name == "haiku-5-5" else None,
        fast=_FAST.get(name),
    )
    for name, minimum, keeps, prices in _ROWS
}

HIGHEST_MINIMUM: Final = max(row.minimum for row in MODELS.values())

_ID = re.compile(
    r"(?:.*[./])?claude-(?:(?P<version>\d-\d)-)?(?P<name>[a-z]+(?:-\d(?:-[1-9])?)?)"
    r"(?:-0)?(?:[-@]\d{8})?(?:-latest)?(?:-v\d+)?(?::\d+\w*)?"
)
_BEDROCK_ID = re.compile(r"(?:^|[./])anthropic\.claude-|^arn:aws[a-z-]*:bedrock:")


@lru_cache(256)
def model(model_id: str) -> Model:
    """The row of a model id, in any form: `claude-opus-5`, dated, or a cloud platform's.

    A model the catalogue does not know (an inference profile, a gateway's own name) gets the highest known
    minimum, keeps its thinking and has no prices: no cost is made up.
    """
    match = _ID.fullmatch(model_id)
    name = "-".join(filter(None, (match["name"], match["version"]))) if match else ""
    known = MODELS.get(name)
    return known or Model(name=model_id, minimum=HIGHEST_MINIMUM, keeps_thinking=True, prices=None)


@lru_cache(256)
def platform(model_id: str) -> Platform:
    """Whose lookback rules a model id stands for: Bedrock's ids name the vendor before the model, or an
    inference profile by its ARN."""
    return "bedrock" if _BEDROCK_ID.search(model_id) else "claude"
