"""What else a prefix depends on besides its blocks: one row per parameter and the level it is mixed in at.

Knows the invalidation table (api-facts section 6). Must not know how digests are made.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from convcache.emulator.layout import Body, Section, blocks_of

_DEFAULT_EFFORT: Final = "high"


@attrs.frozen
class Salt:
    """A parameter that is part of the key from one section on."""

    name: str
    level: Section
    of: Callable[[Body], Any]


def _tool_choice(body: Body) -> Any:
    choice = body.get("tool_choice") or {}
    return [choice.get("type", "auto"), choice.get("name"), bool(choice.get("disable_parallel_tool_use"))]


def _thinking(body: Body) -> Any:
    thinking = body.get("thinking") or {}
    return [thinking.get("type", "disabled"), thinking.get("budget_tokens")]


def _output_config(body: Body) -> Mapping[str, Any]:
    return body.get("output_config") or {}


def _has_images(body: Body) -> bool:
    return any(
        _shows_image(block) for message in body["messages"] for block in blocks_of(message["content"])[0]
    )


def _shows_image(block: Mapping[str, Any]) -> bool:
    if block.get("type") != "tool_result":
        return block.get("type") == "image"
    content = block.get("content")
    return isinstance(content, list) and any(part.get("type") == "image" for part in content)


SALTS: Final = (
    Salt("speed", "system", lambda body: body.get("speed") or "standard"),
    Salt("tool_choice", "messages", _tool_choice),
    Salt("thinking", "messages", _thinking),
    Salt("effort", "messages", lambda body: _output_config(body).get("effort") or _DEFAULT_EFFORT),
    Salt("format", "messages", lambda body: _output_config(body).get("format") or body.get("output_format")),
    Salt("task_budget", "messages", lambda body: _output_config(body).get("task_budget")),
    Salt("images", "messages", _has_images),
)


def salts_at(level: Section, body: Body) -> list[Any]:
    """The values mixed in before the first block of a section."""
    return [[salt.name, salt.of(body)] for salt in SALTS if salt.level == level]
