"""The table: every documented rule and every open question, each once.

Knows which modules hold rules. Must not know what any of them says.
"""

from types import ModuleType
from typing import Final

from convcache.conformance.rule import Rule
from convcache.conformance.rules import (
    billing,
    diagnosis,
    history,
    invalidation,
    key,
    lifetime,
    lookback,
    marks,
    planner,
    service,
)


def _held_by(module: ModuleType) -> list[Rule]:
    return [value for value in vars(module).values() if isinstance(value, Rule)]


_MODULES: Final = (key, marks, lookback, lifetime, billing, invalidation, history, diagnosis, service)

RULES: Final = tuple(
    sorted(
        (*planner.OWN, *invalidation.ROWS, *(held for module in _MODULES for held in _held_by(module))),
        key=lambda held: held.order,
    )
)
"""All of them: T1 to T50, then U1 to U32."""
