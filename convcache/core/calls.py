"""Tool calls and their results: what the API wants of the order of both."""

from collections.abc import Sequence

from convcache.core.blocks import Json, as_blocks
from convcache.errors import DanglingToolUseError, OrphanToolResultError


def tool_use_ids(message: Json) -> tuple[str, ...]:
    """The calls in a message."""
    if message["role"] != "assistant":
        return ()
    blocks = as_blocks(message["content"])
    return tuple([block["id"] for block in blocks if block.get("type") == "tool_use"])


def _tool_result_ids(message: Json) -> tuple[str, ...]:
    if message["role"] != "user":
        return ()
    blocks = as_blocks(message["content"])
    return tuple([block["tool_use_id"] for block in blocks if block.get("type") == "tool_result"])


def check_results(before: Sequence[Json], messages: Sequence[Json]) -> None:
    """Every call is answered in the user messages right after it, and nothing else is answered.

    Args:
        before: Messages of which the last may hold calls.
        messages: Those that follow.

    Raises:
        DanglingToolUseError: A call is not answered.
        OrphanToolResultError: Something else is.
    """
    pending: set[str] = set(tool_use_ids(before[-1])) if before else set()
    after_user = False
    for message in messages:
        if message["role"] == "system":
            continue
        results = set(_tool_result_ids(message))
        if results - pending:
            raise OrphanToolResultError(sorted(results - pending))
        if pending and message["role"] == "assistant" and after_user:
            raise DanglingToolUseError(sorted(pending))
        pending = (pending - results) | set(tool_use_ids(message))
        after_user = message["role"] == "user"
    if pending and after_user:
        raise DanglingToolUseError(sorted(pending))
