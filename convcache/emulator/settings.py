"""What a user may set about the emulator, as one frozen value.

Knows the choices the documents leave open and their defaults. Must not know how any of them is carried out.
"""

import math
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Literal

import attrs

from convcache.emulator.platforms import PLATFORMS, Platform

Refresh = Literal["breakpoints", "matched_only"]
MixedTtl = Literal["stands", "lapses"]
Images = Literal["anywhere", "in_place"]
Binding = Literal["enforced", "reported"]
Signatures = Literal["accepted", "refused"]

NO_TIME = timedelta(0)
# Chunks go into the hundred thousands, and the sum of their delays has to be a date still.
_LONGEST_BETWEEN_CHUNKS = timedelta(days=1)
_LONGEST = timedelta(days=366)


def not_negative(instance: object, attribute: "attrs.Attribute[timedelta]", value: object) -> None:
    """Validates a duration: neither negative nor so long that no date is left."""
    longest = _LONGEST_BETWEEN_CHUNKS if attribute.name == "chunk_delay" else _LONGEST
    if not isinstance(value, timedelta):
        raise TypeError(f"{attribute.name} must be a duration ({value!r}).")
    if value < NO_TIME:
        raise ValueError(f"{attribute.name} must not be negative ({value}).")
    if value > longest:
        raise ValueError(f"{attribute.name} must be at most {longest.days} days ({value}).")


def whole(least: int, most: float = math.inf) -> "Callable[[object, attrs.Attribute[Any], object], None]":
    """Validates a whole number between two others; `True` is none."""

    def check(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            most_said = "" if most == math.inf else f" and at most {most:g}"
            raise ValueError(
                f"{attribute.name} must be a whole number, at least {least}{most_said} ({value!r})."
            )

    return check


def _share(instance: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{attribute.name} must be between 0 and 1 ({value}).")


@attrs.frozen(kw_only=True)
class Settings:
    """How this emulator behaves where the API has variants or the documents are silent."""

    platform: Platform = attrs.field(default="claude", validator=attrs.validators.in_(tuple(PLATFORMS)))
    """Where the API is served; `platforms.PLATFORMS` says what that changes."""
    strict_strings: bool = False
    """Hash string content apart from the one text block it stands for."""
    normalise_defaults: bool = False
    """Leave fields that repeat their default (`is_error: false`, `citations: null`) out of the hash."""
    minimum: int | None = attrs.field(default=None, validator=attrs.validators.optional(whole(0)))
    """Minimum cacheable tokens for every model; `None` takes each model's own."""
    refresh: Refresh = attrs.field(
        default="breakpoints", validator=attrs.validators.in_(("breakpoints", "matched_only"))
    )
    """What a hit prolongs: the matched entry and the live ones at the request's own breakpoints, or the first only."""
    mixed_ttl: MixedTtl = attrs.field(default="stands", validator=attrs.validators.in_(("stands", "lapses")))
    """Whether an hour's entry on top of a five-minute prefix stands by itself, or lapses with that prefix."""
    strict_borders: bool = False
    """Hash where a message ends, also between messages of one role."""
    collapse_server_tools: bool = False
    """Count a run of server tools' calls, or of their results, as one position too."""
    thinking_first: bool = False
    """Render thinking and effort ahead of tools and system: changing them loses everything."""
    strict_speed: bool = False
    """Share nothing between `speed: fast` and `standard`, not even tools."""
    images: Images = attrs.field(default="anywhere", validator=attrs.validators.in_(("anywhere", "in_place")))
    """Whether the first image in a request changes the key of all messages, or counts where it stands only."""
    geo_partitions: bool = True
    """Keep the entries of one `inference_geo` apart from those of another."""
    betas_in_key: bool = False
    """Keep the entries of one set of `anthropic-beta` values apart from those of another."""
    automatic_counts: bool = True
    """Count the top-level mark towards four even where it repeats an explicit one."""
    prefix_binding: Binding = attrs.field(
        default="enforced", validator=attrs.validators.in_(("enforced", "reported"))
    )
    """What models that bind thinking to its prefix do about a changed one, as for new accounts or for old."""
    foreign_signatures: Signatures = attrs.field(
        default="accepted", validator=attrs.validators.in_(("accepted", "refused"))
    )
    """Thinking that this emulator did not sign: taken on trust, so that recordings can be replayed, or refused."""
    tool_prompt_tokens: int = attrs.field(default=0, validator=whole(0))
    """Tokens the API adds to the system prompt of a request with tools."""
    residual_tail_tokens: int = attrs.field(default=0, validator=whole(0))
    """Tokens that stay uncached after the last block, even when it carries a breakpoint."""
    first_token_delay: timedelta = attrs.field(default=NO_TIME, validator=not_negative)
    """From the start of a request to the start of its response."""
    chunk_delay: timedelta = attrs.field(default=NO_TIME, validator=not_negative)
    """Between one chunk of a response and the next."""
    best_effort_miss_rate: float = attrs.field(default=0.0, validator=_share)
    """How often a request finds nothing although it is there, as a share; real hits are best effort."""
    grace_after_expiry: timedelta = attrs.field(default=NO_TIME, validator=not_negative)
    """How long an entry can still be read after its TTL; the documents promise a minimum only."""
    input_tokens_per_minute: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(whole(1))
    )
    """Rate limit for each family of models on tokens that are written or uncached; `None` is no limit."""
    diagnostics: Literal["at_once", "pending"] = attrs.field(
        default="at_once", validator=attrs.validators.in_(("at_once", "pending"))
    )
    """Whether a comparison is finished in time to be told, or the reason stays `null`."""
    thread_marks: int = attrs.field(default=4, validator=attrs.validators.in_((3, 4)))
    """How many breakpoints a thread request may carry: as documented, or one less, as refused in September 2026."""
    thread_unsupported: tuple[str, ...] = ("context_management", "fallbacks")
    """What threads refuse: request fields, or `hipaa` or `inference_hooks` for an organization that has them."""
    batch_delay: timedelta = attrs.field(default=timedelta(minutes=1), validator=not_negative)
    """From the creation of a batch to its end; its requests are served evenly on the way."""
    batch_rows_at_once: int = attrs.field(default=1, validator=whole(1))
    """How many requests of a batch are served side by side; of those, none reads what another one writes."""
    batch_hit_rate: float = attrs.field(default=1.0, validator=_share)
    """How often a request of a batch finds what is there, as a share; the documents speak of 0.3 to 0.98."""
    max_request_bytes: int = attrs.field(default=32 * 1024 * 1024, validator=whole(0))
    """Longer bodies are refused with 413, as the API does."""
    kept_body_bytes: int = attrs.field(default=256 * 1024 * 1024, validator=whole(0))
    """How many bytes of request bodies the log keeps; the oldest are let go first."""
    seed: int = 0
    """Makes ids, signatures and the default replies repeatable."""


def settings_from(value: object) -> Settings:
    """Settings from a JSON object of fields by name, where durations are in seconds.

    Raises:
        ValueError: A name is unknown or a value impossible.
    """
    fields = attrs.fields_dict(Settings)
    if not isinstance(value, Mapping):
        raise ValueError("settings are a JSON object")  # noqa: TRY004 - what a file says is a value
    unknown = ", ".join(name for name in value if name not in fields)
    if unknown:
        raise ValueError(f"no such settings: {unknown}; there are {', '.join(fields)}")
    given = {name: _converted(name, each, fields[name].default) for name, each in value.items()}
    try:
        return Settings(**given)
    except TypeError as error:
        raise ValueError(str(error)) from error


def _converted(name: str, value: Any, default: object) -> Any:
    """A JSON value as the kind of its default; whether it is allowed is the field's own matter."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(default, timedelta) and number:
        try:
            return timedelta(seconds=value)
        except (OverflowError, ValueError):
            raise ValueError(f"{name} must be seconds ({value!r})") from None
    if isinstance(default, tuple) and isinstance(value, list) and all(isinstance(one, str) for one in value):
        return tuple(value)
    fits = default is None or (number and type(default) in (int, float)) or type(value) is type(default)
    if not fits or (type(default) is int and not isinstance(value, int)):
        raise ValueError(f"{name} must be {_KINDS[type(default)]} ({value!r})")
    return value


_KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a string",
    tuple: "a list of strings",
    timedelta: "seconds",
}
