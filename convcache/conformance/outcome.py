"""What became of a rule: agree, differ, unknown or not run, with what was observed.

Knows verdicts and the exceptions a check ends early with. Must not know rules nor endpoints.
"""

from collections.abc import Mapping
from typing import Any, Literal

import attrs

Verdict = Literal["agree", "differ", "unknown", "not run"]


class Differs(Exception):  # noqa: N818 - raised where a check says so
    """The endpoint does something else than the rule says."""


class CannotTell(Exception):  # noqa: N818 - raised where a check says so
    """What was seen neither proves nor disproves the rule."""


class NotRun(Exception):  # noqa: N818 - raised where a check says so
    """The check was stopped, or never begun."""


@attrs.frozen(kw_only=True)
class Sent:
    """One request of a check and what was billed for it."""

    path: str
    model: str
    status: int
    usage: Mapping[str, Any]


@attrs.frozen(kw_only=True)
class Outcome:
    """The verdict on one rule."""

    verdict: Verdict
    observed: str
    sent: tuple[Sent, ...] = ()
