"""What the documents say of each model as far as the checks need it: its minimum and what it takes.

Knows api-facts sections 4, 7 and 6. Must not know prices; who pays knows them.
"""

import re
from typing import Final

DEFAULT: Final = "claude-haiku-5-5"
"""The cheapest model whose minimum is the lowest."""

THINKS_ALWAYS_KEPT: Final = ("claude-opus-4-8", "claude-sonnet-4-6", "claude-opus-5")
"""Take adaptive thinking and keep the thinking of earlier turns."""

FORGETS_THINKING: Final = ("claude-haiku-4-5", "claude-sonnet-4-5")
"""Take thinking with a budget and drop it when the user speaks again."""

HEARS_SYSTEM_MESSAGES: Final = ("claude-opus-5", "claude-opus-4-8", "claude-sonnet-5-5", "claude-opus-5-5")
"""Take system messages in the middle of a conversation."""

GOES_FAST: Final = ("claude-opus-5", "claude-opus-4-8")
"""Take `speed: "fast"`."""

MINIMUMS: Final = {
    512: "fable-5 fable-5-1 fable-5-2 mythos-5 mythos-5-1 mythos-5-2 opus-5 opus-5-5 sonnet-5-5 haiku-5-5",
    1024: "opus-4-8 opus-4-1 opus-4 sonnet-5 sonnet-4-6 sonnet-4-5 sonnet-4",
    2048: "opus-4-7 mythos-preview haiku-3-5",
    4096: "opus-4-6 opus-4-5 haiku-4-5",
}
"""The shortest prefix that is cached, in tokens, and the models it holds for."""

_MINIMUM_OF: Final = {name: least for least, names in MINIMUMS.items() for name in names.split()}
_NAME: Final = re.compile(r"claude-(?P<name>[a-z]+(?:-\d)*|[a-z]+-preview)(?:-0)?(?:[-@]\d{8}.*)?$")


def minimum(model: str) -> int | None:
    """The documented minimum of a model, or `None` for one the documents read did not name."""
    match = _NAME.search(model)
    return _MINIMUM_OF.get(match["name"]) if match else None


def named() -> list[str]:
    """Every model the documents name a minimum for."""
    return [f"claude-{name}" for name in _MINIMUM_OF]
