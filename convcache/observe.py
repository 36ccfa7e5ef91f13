"""Events to log lines: through structlog where the application has configured it, else through `logging`.

Nothing is printed for an application that set up neither, warnings aside.
"""

import logging
import traceback
from contextlib import AbstractContextManager
from typing import Any, Final, assert_never

import structlog
from opentelemetry import trace

from convcache.core.events import (
    BreakpointsRefused,
    CacheInvalidated,
    ContextNearlyFull,
    Event,
    HeadroomExceeded,
    HeadUnstable,
    HelperFailed,
    HistoryEdited,
    KeptWarm,
    ModelUnknown,
    TurnSettled,
    WarmthEnded,
)

LOGGER: Final = "convcache"


_tracer = trace.get_tracer(LOGGER)
_logger = logging.getLogger(LOGGER)


def keep_alive_span() -> AbstractContextManager[object]:
    """A span around a request that keeps a conversation warm, so that a trace tells it from those of the application."""
    return _tracer.start_as_current_span("convcache.keep_alive")


def emit(event: Event) -> None:
    """Log one event."""
    logs = structlog.is_configured()
    if not logs and isinstance(event, TurnSettled) and not _logger.isEnabledFor(logging.INFO):
        return
    level, name, fields = _line(event)
    if logs:
        structlog.get_logger(LOGGER).log(level, name, **fields)
    elif _logger.isEnabledFor(level):
        details = " ".join(f"{key}={value}" for key, value in fields.items())
        _logger.log(level, "%s %s", name, details)


def _line(event: Event) -> tuple[int, str, dict[str, Any]]:  # noqa: C901, PLR0911, PLR0912 - a row for each event
    match event:
        case TurnSettled(turn, kept, conversation):
            usage = turn.actual
            fields = {
                "read": usage.read,
                "written_5m": usage.written_5m,
                "written_1h": usage.written_1h,
                "uncached": usage.uncached,
                "output": usage.output,
                "paid": turn.costs.paid,
                "miss": turn.miss and turn.miss.value,
                "kept": kept,
            }
            if conversation is not None:
                fields["conversation"] = conversation
            return logging.INFO, "turn_settled", fields
        case HelperFailed(step, error):
            return logging.WARNING, f"{step}_failed", {"error": type(error).__name__, "where": _where(error)}
        case BreakpointsRefused(message):
            return logging.WARNING, "breakpoints_refused", {"message": message}
        case CacheInvalidated(lost):
            fields = {"changed": ",".join(lost.changed), "tokens": lost.tokens, "cost": lost.cost}
            return logging.WARNING, "cache_invalidated", fields
        case ContextNearlyFull(tokens, window):
            return logging.WARNING, "context_nearly_full", {"tokens": tokens, "window": window}
        case HeadUnstable(volatile):
            # The values are pieces of the prompt: those who want them take the event.
            return logging.WARNING, "head_unstable", {"path": volatile.path, "kind": volatile.kind.value}
        case HistoryEdited(edit):
            fields = {"tokens": edit.tokens, "price": edit.price, "saving": edit.saving}
            return logging.INFO, "history_edited", fields
        case KeptWarm(action, turn):
            fields = {"action": action, "read": turn.actual.read, "paid": turn.costs.paid}
            return logging.INFO, "kept_warm", {**fields, "written": turn.actual.written}
        case WarmthEnded(sent, spent, saved):
            return logging.INFO, "warmth_ended", {"sent": sent, "spent": spent, "saved": saved}
        case HeadroomExceeded(tokens, remaining, reset):
            fields = {"tokens": tokens, "remaining": remaining, "reset": reset.isoformat()}
            return logging.WARNING, "headroom_exceeded", fields
        case ModelUnknown(model):
            return logging.WARNING, "model_unknown", {"model": model}
        case _:
            assert_never(event)


def _where(error: BaseException) -> str:
    """Where an error was raised. Its message is not logged: it may quote what was said."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
