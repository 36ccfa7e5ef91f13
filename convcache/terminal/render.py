"""Tokens, money, time and reasons as a person reads them.

Pure: values in, short strings out. Knows no terminal.
"""

from datetime import timedelta
from decimal import Decimal
from typing import Final

from convcache import Costs, Miss, Turn, Usage

REASONS: Final = {
    Miss.MODEL_CHANGED: "the model was switched",
    Miss.TOOLS_CHANGED: "the tools changed",
    Miss.SYSTEM_CHANGED: "the system prompt changed",
    Miss.SETTINGS_CHANGED: "a setting changed that is part of the cache's key, or the first image came",
    Miss.THINKING_DROPPED: "the model drops its earlier thinking when a person speaks again",
    Miss.CONTEXT_EDITED: "the server cleared old content, or put a summary in its place",
    Miss.HISTORY_CHANGED: "messages sent before are gone or are others",
    Miss.EXPIRED: "the pause outlived the cache",
    Miss.UNKNOWN: "the server no longer had it, within its lifetime",
}

_SMALLEST: Final = Decimal("0.0001")


def money(dollars: Decimal) -> str:
    """An amount with as many decimals as matter.

    >>> money(Decimal("0.00156")), money(Decimal("12.346")), money(Decimal("0.00001"))
    ('$0.0016', '$12.35', '<$0.0001')
    """
    if dollars < 0:
        return f"-{money(-dollars)}"
    if 0 < dollars < _SMALLEST:
        return f"<${_SMALLEST}"
    return f"${dollars:.2f}" if dollars >= 1 else f"${dollars:.4f}"


def percent(part: Decimal | int, whole: Decimal | int) -> str:
    """A share of something, `0%` of nothing.

    >>> percent(93, 124), percent(0, 0)
    ('75%', '0%')
    """
    return f"{100 * part / whole:.0f}%" if whole else "0%"


def duration(time: timedelta) -> str:
    """A pause, to the second.

    >>> duration(timedelta(seconds=723)), duration(timedelta(hours=5, minutes=4)), duration(timedelta(seconds=9))
    ('12m 03s', '5h 04m', '9s')
    """
    minutes, seconds = divmod(int(time.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minutes:02}m"
    return f"{minutes}m {seconds:02}s" if minutes else f"{seconds}s"


def countdown(left: timedelta) -> str:
    """What is left of a cache's life, as it is shown while somebody types.

    >>> countdown(timedelta(seconds=252)), countdown(timedelta(hours=1)), countdown(timedelta(0))
    ('cache lapses in 4:12', 'cache lapses in 1:00:00', 'cache lapsed')
    """
    # Rounded up: it says 5:00 at first, and never 0:00 of a cache that is still there.
    seconds = -(-left // timedelta(seconds=1))
    if seconds <= 0:
        return "cache lapsed"
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    clock = f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
    return f"cache lapses in {clock}"


def tokens(usage: Usage) -> str:
    """Where the tokens of a prompt came from."""
    return f"{usage.read:,} read, {usage.written:,} written, {usage.uncached:,} uncached"


def instead_of(costs: Costs) -> str:
    """What was paid beside what it would have cost."""
    if costs.paid is None or costs.uncached is None:
        return "no prices are known for this model"
    return f"{money(costs.paid)} instead of {money(costs.uncached)} uncached"


def cache_line(turn: Turn, pause: timedelta | None) -> str:
    """The one line about a turn.

    Args:
        turn: The turn.
        pause: From the start of the request before it to its own.
    """
    line = f"cache: {tokens(turn.actual)} | {instead_of(turn.costs)}"
    if turn.miss is None:
        return line
    after = f" ({duration(pause)} since the last turn)" if turn.miss is Miss.EXPIRED and pause else ""
    return f"{line} | missed: {REASONS[turn.miss]}{after}"
