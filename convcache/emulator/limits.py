"""The input-token rate limit: a bucket that refills all the time, drained by what was not read from the cache.

Knows minutes, models' families and rate-limit headers. Must not know requests.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from math import ceil
from typing import Final

import attrs

from convcache.emulator.cache import Bill
from convcache.emulator.errors import ApiError

_MINUTE: Final = 60
_READS_COUNT: Final = ("claude-haiku-3-5",)
"""Models whose cache reads are not free of the limit."""


@attrs.frozen
class _Bucket:
    tokens: float
    at: datetime


class InputLimit:
    """One bucket for each family of models; without a limit there are none.

    Args:
        per_minute: How much a bucket holds and how much flows in each minute.
    """

    def __init__(self, per_minute: int | None) -> None:
        self._per_minute = per_minute
        self._buckets: dict[str, _Bucket] = {}

    def admit(self, model: str, bill: Bill) -> Mapping[str, str]:
        """Lets a request in and tells what is left as headers.

        Raises:
            ApiError: 429, if the bucket does not hold enough.
        """
        if self._per_minute is None:
            return {}
        family, left, cost = _family(model), self._left(model, bill.at), _cost(model, bill)
        if cost > left:
            raise self._refusal(cost - left, left, bill.at)
        self._buckets[family] = _Bucket(left - cost, bill.at)
        return self._headers(left - cost, bill.at)

    def clear(self) -> None:
        self._buckets.clear()

    def _left(self, model: str, at: datetime) -> float:
        full = float(self._per_minute or 0)
        bucket = self._buckets.get(_family(model))
        if bucket is None:
            return full
        return min(full, bucket.tokens + (at - bucket.at).total_seconds() * full / _MINUTE)

    def _refusal(self, missing: float, left: float, at: datetime) -> ApiError:
        seconds = min(_MINUTE, ceil(self._seconds(missing)))
        return ApiError(
            f"This request would exceed your organization's rate limit of {self._per_minute:,} "
            "input tokens per minute.",
            status=429,
            headers={"retry-after": str(max(1, seconds)), **self._headers(left, at)},
        )

    def _headers(self, left: float, at: datetime) -> Mapping[str, str]:
        full_again = at + timedelta(seconds=self._seconds((self._per_minute or 0) - left))
        return {
            "anthropic-ratelimit-input-tokens-limit": str(self._per_minute),
            "anthropic-ratelimit-input-tokens-remaining": str(int(left)),
            "anthropic-ratelimit-input-tokens-reset": full_again.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    def _seconds(self, tokens: float) -> float:
        """How long it takes to refill so many tokens."""
        return tokens * _MINUTE / (self._per_minute or 1)


def _cost(model: str, bill: Bill) -> int:
    written = bill.written_5m + bill.written_1h
    return bill.uncached + written + (bill.read if model in _READS_COUNT else 0)


def _family(model: str) -> str:
    return model.removeprefix("claude-").split("-")[0]
