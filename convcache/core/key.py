"""What besides the blocks is part of the cache's key: one row for each request parameter that the documents name.

A changed value loses its section of the prompt and all that follow (prompt-caching page, "What invalidates the
cache"). Values are normalised: a default that is spelled out is the same as one left out.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Literal

import attrs

from convcache.core.blocks import Json, as_blocks

Section = Literal["tools", "system", "messages"]

_DEFAULT_EFFORT: Final = "high"


@attrs.frozen
class Parameter:
    """A request parameter that is part of the key.

    Attributes:
        name: What a person calls it.
        section: The first section it is lost with.
        of: Its normalised value in a request.
    """

    name: str
    section: Section
    of: Callable[[Json], Any]


def _server_tools(kind: str) -> Callable[[Json], bool]:
    def has(request: Json) -> bool:
        return any(str(tool.get("type", "")).startswith(kind) for tool in request.get("tools") or ())

    return has


def _skills(request: Json) -> Any:
    container = request.get("container")
    return container.get("skills") if isinstance(container, Mapping) else None


def _tool_choice(request: Json) -> Any:
    choice = request.get("tool_choice") or {}
    return [choice.get("type", "auto"), choice.get("name"), bool(choice.get("disable_parallel_tool_use"))]


def _thinking(request: Json) -> Any:
    thinking = request.get("thinking") or {}
    return [thinking.get("type", "disabled"), thinking.get("budget_tokens")]


def _output_config(name: str, default: Any = None) -> Callable[[Json], Any]:
    return lambda request: (request.get("output_config") or {}).get(name) or default


def _cites(request: Json) -> bool:
    return any(_is_citing(block) for block in _message_blocks(request))


def _is_citing(block: Json) -> bool:
    # On a document `citations` is the switch; on a text that cites, it is the list of citations.
    switch = block.get("citations")
    inner = block.get("content") if block.get("type") == "tool_result" else None
    if isinstance(inner, (list, tuple)) and any(_is_citing(part) for part in inner):
        return True
    return isinstance(switch, Mapping) and bool(switch.get("enabled"))


def _shows_images(request: Json) -> bool:
    return any(shows_image(block) for block in _message_blocks(request))


def shows_image(block: Json) -> bool:
    """Whether the block is an image or a tool result with one."""
    if block.get("type") == "tool_result":
        inner = block.get("content")
        return isinstance(inner, (list, tuple)) and any(shows_image(part) for part in inner)
    return block.get("type") == "image"


def _message_blocks(request: Json) -> Iterator[Json]:
    for message in request["messages"]:
        if not isinstance(message["content"], str):
            yield from as_blocks(message["content"])


PARAMETERS: Final = (
    Parameter("workspace", "tools", lambda request: request.get("workspace_id")),
    Parameter("inference_geo", "tools", lambda request: request.get("inference_geo")),
    Parameter("mcp_servers", "tools", lambda request: request.get("mcp_servers")),
    Parameter("speed", "system", lambda request: request.get("speed") or "standard"),
    Parameter("web search", "system", _server_tools("web_search_")),
    Parameter("web fetch", "system", _server_tools("web_fetch_")),
    Parameter("citations", "system", _cites),
    Parameter("skills", "system", _skills),
    Parameter("tool_choice", "messages", _tool_choice),
    Parameter("thinking", "messages", _thinking),
    Parameter("effort", "messages", _output_config("effort", _DEFAULT_EFFORT)),
    Parameter("output format", "messages", _output_config("format")),
    Parameter("task budget", "messages", _output_config("task_budget")),
    Parameter("images", "messages", _shows_images),
)
"""Citations and images are toggles of the whole request: the first one changes it, and so does losing the last."""

_TOGGLES: Final = ("citations", "images")


def values(request: Json) -> dict[str, Any]:
    """Every parameter's value, by name."""
    return {parameter.name: parameter.of(request) for parameter in PARAMETERS}


def grown(before: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a request that goes on from another, where `new` has seen only the new messages."""
    toggles = {name: bool(before[name] or new[name]) for name in _TOGGLES}
    return {**new, **toggles}


def salt(section: Section, values: Mapping[str, Any]) -> bytes:
    """The values that are mixed in before a section, as bytes."""
    mixed = [values[parameter.name] for parameter in PARAMETERS if parameter.section == section]
    return json.dumps(mixed, separators=(",", ":"), default=str).encode()
