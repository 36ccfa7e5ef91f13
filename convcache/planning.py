"""`plan`: what convcache would do with a request, as a pure function. Nothing is sent and nothing is remembered."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from convcache.core.catalog import Platform
from convcache.core.clock import CacheClock
from convcache.core.ledger import Ledger
from convcache.core.node import CountTokens
from convcache.core.planner import Plan
from convcache.core.policy import Policy
from convcache.core.prompt import Prompt


def plan(
    request: Mapping[str, Any],
    *,
    policy: Policy = Policy(),
    platform: Platform | None = None,
    count: CountTokens | None = None,
) -> Plan:
    """Where the breakpoints of a request belong, and what it should cost with nothing cached yet.

    ```python
    planned = plan({"model": "claude-opus-5", "max_tokens": 1024, "system": guide, "messages": messages})
    client.messages.create(**planned.marked(request))
    ```

    Args:
        request: The body of `messages.create`, as plain JSON; breakpoints of the caller's own are merged.
        policy: How breakpoints are placed.
        platform: Whose lookback rules hold; told from the form of the model's id if not given.
        count: Counts the tokens of a block, given as JSON; without it they are estimated.

    Raises:
        ValueError: The request has no model or no messages, or something in it cannot be written as JSON.
        TypeError: Something in it is not plain JSON, such as an object of the SDK.
    """
    for name in ("model", "messages"):
        if not request.get(name):
            raise ValueError(f"the request has no {name}")
    prompt = Prompt.of(_json_only(request), rules=platform, count=count)
    ledger = Ledger(counts=count is not None)
    return ledger.plan(prompt, CacheClock(), at=datetime.min.replace(tzinfo=UTC), policy=policy)


def _json_only(request: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(request["messages"], (list, tuple)):
        raise TypeError(f"messages is a list, not {type(request['messages']).__name__}")
    return request
