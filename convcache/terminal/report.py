"""The outcome of a replay in words: a line for each request with its reason, then the totals; or one document.

Pure: outcomes in, text or JSON values out.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any, Final

from convcache import Costs, Miss, Usage
from convcache.core.clock import TTL
from convcache.terminal.reenact import Outcome
from convcache.terminal.render import REASONS, duration, instead_of, percent
from convcache.terminal.screen import printable

_ROW: Final = "{:>4}  {:15}  {:>8}  {:>8}  {:>8}  {:>7}  {}"
_HOURS: Final = "%b %d %H:%M:%S"


def lines(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """The table and the totals."""
    yield _ROW.format("#", "time (UTC)", "read", "written", "uncached", "output", "")
    for outcome in outcomes:
        yield _row(outcome).rstrip()
    yield ""
    yield from _totals(outcomes)


def _row(outcome: Outcome) -> str:
    at = outcome.exchange.at.strftime(_HOURS)
    if outcome.turn is None:
        return _ROW.format(outcome.index, at, *"----", note(outcome))
    actual = outcome.turn.actual
    counts = (f"{n:,}" for n in (actual.read, actual.written, actual.uncached, actual.output))
    return _ROW.format(outcome.index, at, *counts, note(outcome))


def note(outcome: Outcome) -> str:
    """What there is to say about a request: its model where it is another, why it missed, how it goes on."""
    return "; ".join(filter(None, _remarks(outcome)))


def _remarks(outcome: Outcome) -> Iterator[str]:
    if outcome.before is None:
        first = "first request" if outcome.conversation == 1 else "a history of its own"
        yield printable(f"{outcome.exchange.model}: {first}")
    if outcome.turn is None:
        yield printable(f"REFUSED: {outcome.error}")
    yield _why_missed(outcome)
    if outcome.switched_from and not _missed(outcome, Miss.MODEL_CHANGED):
        yield printable(f"now {outcome.exchange.model}")
    if outcome.goes_back and not _missed(outcome, Miss.HISTORY_CHANGED):
        yield _other_history(outcome)
    if lost := outcome.exchange.mended - (outcome.before.exchange.mended if outcome.before else 0):
        yield f"{_count(lost, 'result')} of tool calls not recorded"


def _missed(outcome: Outcome, miss: Miss) -> bool:
    return outcome.turn is not None and outcome.turn.miss is miss


def _why_missed(outcome: Outcome) -> str:
    pause, lifetime = outcome.pause, TTL["5m"]
    if outcome.turn is None or outcome.turn.miss is None or pause is None:
        return ""
    if outcome.turn.miss is Miss.EXPIRED:
        return f"expired: the pause of {duration(pause)} outlived the cache's 5 minutes"
    also = f", and the pause of {duration(pause)} outlived the cache" if pause >= lifetime else ""
    return f"{_reason(outcome, outcome.turn.miss)}{also}"


def _reason(outcome: Outcome, miss: Miss) -> str:
    model = printable(outcome.exchange.model)
    match miss:
        case Miss.MODEL_CHANGED:
            return f"the model was switched to {model}"
        case Miss.THINKING_DROPPED:
            return f"{model} drops its earlier thinking when a person speaks again"
        case Miss.HISTORY_CHANGED if outcome.goes_back:
            return _other_history(outcome)
    return REASONS[miss]


def _other_history(outcome: Outcome) -> str:
    if not outcome.rewrites:
        return f"the transcript goes back {_count(outcome.goes_back, 'request')} and takes another way"
    start = f"message {outcome.kept + 1} on" if outcome.kept else "its first reply on"
    return f"the transcript rewrote its history from {start}"


def _totals(outcomes: Sequence[Outcome]) -> Iterator[str]:
    usage, costs = _sums(outcomes)
    refused = [outcome for outcome in outcomes if outcome.turn is None]
    conversations = max(outcome.conversation for outcome in outcomes)
    yield f"requests  {len(outcomes)} in {_count(conversations, 'conversation')}, {len(refused) or 'none'} refused"
    yield f"tokens    {usage.read:,} read, {usage.written:,} written, {usage.uncached:,} uncached, {usage.output:,} output"
    yield f"cost      {instead_of(costs)}{_saved(costs)}"
    later = [outcome for outcome in outcomes if outcome.turn and outcome.before]
    missed = [outcome for outcome in later if outcome.turn and outcome.turn.miss]
    whole = len(later) - len(missed)
    yield f"cache     {whole} of {len(later)} later requests read everything the one before them left"
    for reason, count in Counter(REASONS[miss] for miss in _misses(missed)).items():
        yield f"          {count} did not: {reason}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _saved(costs: Costs) -> str:
    if not costs.paid or not costs.uncached:
        return ""
    saved = costs.uncached - costs.paid
    return f", {percent(saved, costs.uncached)} saved"


def _sums(outcomes: Iterable[Outcome]) -> tuple[Usage, Costs]:
    turns = [outcome.turn for outcome in outcomes if outcome.turn is not None]
    usage, costs = Usage(), Costs()
    for turn in turns:
        usage, costs = usage + turn.actual, costs + turn.costs
    return usage, costs


def _misses(outcomes: Iterable[Outcome]) -> Iterator[Miss]:
    for outcome in outcomes:
        if outcome.turn is not None and outcome.turn.miss is not None:
            yield outcome.turn.miss


def document(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The outcome as JSON. Costs are dollars, as strings: they are exact."""
    usage, costs = _sums(outcomes)
    later = [outcome.turn for outcome in outcomes if outcome.turn and outcome.before]
    return {
        "requests": [_entry(outcome) for outcome in outcomes],
        "totals": {
            "requests": len(outcomes),
            "refused": sum(outcome.turn is None for outcome in outcomes),
            "conversations": max(outcome.conversation for outcome in outcomes),
            **_counts(usage),
            "cost": _dollars(costs.paid),
            "uncached_cost": _dollars(costs.uncached),
            "percent_saved": _percent_saved(costs),
            "read_everything": sum(turn.miss is None for turn in later),
            "missed": Counter(miss.value for miss in _misses(outcomes)),
        },
    }


def _entry(outcome: Outcome) -> dict[str, Any]:
    turn, exchange = outcome.turn, outcome.exchange
    return {
        "index": outcome.index,
        "at": exchange.at.isoformat(),
        "conversation": outcome.conversation,
        "model": exchange.model,
        "status": outcome.status,
        **_counts(turn.actual if turn else Usage()),
        "forecast": _counts(turn.forecast) if turn and turn.forecast else None,
        "recorded": _counts(exchange.usage),
        "cost": _dollars(turn.costs.paid) if turn else None,
        "uncached_cost": _dollars(turn.costs.uncached) if turn else None,
        "miss": turn.miss.value if turn and turn.miss else None,
        "note": note(outcome),
    }


def _counts(usage: Usage) -> dict[str, int]:
    return {
        "read": usage.read,
        "written_5m": usage.written_5m,
        "written_1h": usage.written_1h,
        "uncached": usage.uncached,
        "output": usage.output,
    }


def _dollars(amount: Decimal | None) -> str | None:
    return None if amount is None else f"{amount:f}"


def _percent_saved(costs: Costs) -> float | None:
    if costs.paid is None or not costs.uncached:
        return None
    return round(float(100 * (costs.uncached - costs.paid) / costs.uncached), 1)
