"""What a user may set about the emulator, as one frozen value.

Knows the choices the documents leave open and their defaults. Must not know how any of them is carried out.
"""

from datetime import timedelta
from typing import Literal

import attrs

Platform = Literal["claude", "bedrock"]
Refresh = Literal["breakpoints", "matched_only"]

NO_TIME = timedelta(0)


def _not_negative(instance: object, attribute: "attrs.Attribute[timedelta]", value: timedelta) -> None:
    if value < NO_TIME:
        raise ValueError(f"{attribute.name} must not be negative ({value}).")


@attrs.frozen(kw_only=True)
class Settings:
    """How this emulator behaves where the API has variants or the documents are silent."""

    platform: Platform = attrs.field(default="claude", validator=attrs.validators.in_(("claude", "bedrock")))
    """Where the API is served; `bedrock` counts every block of a tool run as a position of its own."""
    strict_strings: bool = False
    """Hash string content apart from the one text block it stands for."""
    normalise_defaults: bool = False
    """Leave fields that repeat their default (`is_error: false`, `citations: null`) out of the hash."""
    minimum: int | None = None
    """Minimum cacheable tokens for every model; `None` takes each model's own."""
    refresh: Refresh = attrs.field(
        default="breakpoints", validator=attrs.validators.in_(("breakpoints", "matched_only"))
    )
    """What a hit prolongs: the matched entry and the live ones at the request's own breakpoints, or the first only."""
    residual_tail_tokens: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    """Tokens that stay uncached after the last block, even when it carries a breakpoint."""
    first_token_delay: timedelta = attrs.field(default=NO_TIME, validator=_not_negative)
    """From the start of a request to the start of its response."""
    chunk_delay: timedelta = attrs.field(default=NO_TIME, validator=_not_negative)
    """Between one chunk of a response and the next."""
    max_request_bytes: int = 32 * 1024 * 1024
    """Longer bodies are refused with 413, as the API does."""
    kept_body_bytes: int = 256 * 1024 * 1024
    """How many bytes of request bodies the log keeps; the oldest are let go first."""
    seed: int = 0
    """Makes ids, signatures and the default replies repeatable."""
