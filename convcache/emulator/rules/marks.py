"""What is refused about breakpoints: too many, in the wrong order of TTLs, in a place that cannot hold one.

Knows the API's texts and the order of its checks. Must not know where a hit would be.
"""

from collections.abc import Sequence
from typing import Final

from convcache.emulator.errors import ApiError
from convcache.emulator.layout import Body, Piece, is_deferred
from convcache.emulator.marks import Mark
from convcache.emulator.platforms import PLATFORMS
from convcache.emulator.settings import Settings

LIMIT: Final = 4

_LONG_AFTER_SHORT: Final = (
    "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block. "
    "Note that blocks are processed in the following order: `tools`, `system`, `messages`."
)


def check(
    body: Body,
    pieces: Sequence[Piece],
    explicit: Sequence[Mark],
    automatic: Mark | None,
    settings: Settings,
) -> None:
    """Count, order of the explicit ones, the automatic one's target, its order; then single blocks.

    Refused in that order (verified live on 2026-09-30 by others, api-facts B7).
    """
    if body.get("cache_control") is not None and not PLATFORMS[settings.platform].automatic:
        raise ApiError("cache_control: Extra inputs are not permitted")
    repeats = automatic is not None and not settings.automatic_counts and _repeats(automatic, explicit)
    _check_count(len(explicit) + (body.get("cache_control") is not None and not repeats))
    _check_order(explicit)
    if automatic:
        _check_target(explicit, automatic)
        _check_automatic_order(explicit, automatic)
    _check_deferred(pieces)
    _check_turn_scoped(explicit)


def _repeats(automatic: Mark, explicit: Sequence[Mark]) -> bool:
    return any(mark.path == automatic.carrier.path and mark.ttl == automatic.ttl for mark in explicit)


def _check_count(count: int) -> None:
    if count > LIMIT:
        raise ApiError(f"A maximum of {LIMIT} blocks with cache_control may be provided. Found {count}.")


def _check_order(marks: Sequence[Mark]) -> None:
    short_seen = False
    for mark in marks:
        if mark.ttl == "1h" and short_seen:
            raise ApiError(f"{mark.path}.cache_control.ttl: {_LONG_AFTER_SHORT}")
        short_seen = short_seen or mark.ttl == "5m"


def _check_target(explicit: Sequence[Mark], automatic: Mark) -> None:
    for mark in explicit:
        if mark.path == automatic.carrier.path and mark.ttl != automatic.ttl:
            raise ApiError(
                f"Top-level cache_control has ttl='{automatic.ttl}' but the target block already has cache_control "
                f"with ttl='{mark.ttl}'. When both are specified on the same block, they must have matching TTLs."
            )


def _check_automatic_order(explicit: Sequence[Mark], automatic: Mark) -> None:
    if automatic.ttl == "1h" and any(mark.ttl == "5m" for mark in explicit):
        raise ApiError(f"cache_control: {_LONG_AFTER_SHORT}")


def _check_deferred(pieces: Sequence[Piece]) -> None:
    tools = [piece.block for piece in pieces if piece.section == "tools"]
    for tool in tools:
        if tool.get("defer_loading") and tool.get("cache_control") is not None:
            raise ApiError(
                f"Tool '{tool.get('name')}' cannot have both defer_loading=true and cache_control set. "
                "Tools with defer_loading cannot use prompt caching."
            )
    if tools and all(is_deferred(tool) for tool in tools):
        raise ApiError("At least one tool must have defer_loading=false")


def _check_turn_scoped(explicit: Sequence[Mark]) -> None:
    for mark in explicit:
        if mark.carrier.turn_scoped:
            raise ApiError(
                f"{mark.path}: cache_control is not permitted on a turn-scoped system message "
                "(clear_at: 'next_user_message')"
            )
