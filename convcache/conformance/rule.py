"""A documented rule as a value: what it says, where that stands, and the check that looks.

Knows what a rule is. Must not know any rule.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Final

import attrs

from convcache.conformance.probe import Probe

Check = Callable[[Probe], None]

NO_TIME: Final = timedelta(0)


@attrs.frozen(kw_only=True)
class Rule:
    """One line of the table."""

    id: str
    """`T13` for a documented rule, `U5` for an open question; `T32.speed` where a rule has many rows."""
    proves: tuple[str, ...]
    """The facts behind it, by their ids."""
    source: str
    """Where the facts stand."""
    says: str
    """The rule in one sentence; for an open question the choice that is taken."""
    check: Check | None = None
    """Looks whether it holds; `None` where no endpoint is concerned, and convcache's own tests look."""
    models: tuple[str, ...] = ()
    """The models it can be seen on, the first is taken; any model if empty."""
    waits: timedelta = NO_TIME
    """How long the check waits, unless time can be moved."""

    @property
    def of_endpoint(self) -> bool:
        return self.check is not None

    @property
    def order(self) -> tuple[str, int, str]:
        number, _, row = self.id[1:].partition(".")
        return self.id[0], int(number), row

    def model_for(self, preferred: str) -> str:
        """The model to ask: the preferred one, unless the rule cannot be seen on it."""
        return preferred if not self.models or preferred in self.models else self.models[0]


def rule(
    id_: str, *, proves: str, source: str, says: str, models: tuple[str, ...] = (), waits: float = 0
) -> Callable[[Check], Rule]:
    """Makes a rule of the check below it.

    Args:
        id_: The rule's id.
        proves: The facts' ids, separated by spaces.
        source: Where the facts stand.
        says: The rule in one sentence.
        models: The models it can be seen on; any if empty.
        waits: Minutes that have to pass.
    """
    return lambda check: Rule(
        id=id_,
        proves=tuple(proves.split()),
        source=source,
        says=says,
        check=check,
        models=models,
        waits=timedelta(minutes=waits),
    )
