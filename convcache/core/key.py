"""What besides the blocks is part of the cache's key: one row for each request parameter that the documents name.

A changed value loses its section of the prompt and all that follow (prompt-caching page, "What invalidates the
cache"). Values are normalised: a default that is spelled out is the same as one left out.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import attrs

from convcache.core.blocks import Json
from convcache.core.outline import Outline

Section = Literal["tools", "system", "messages"]

_DEFAULT_EFFORT: Final = "high"


@attrs.frozen
class Parameter:
    """A request parameter that is part of the key.

    Attributes:
        name: What a person calls it.
        section: The first section it is lost with.
        of: Its normalised value in a request whose messages have an outline.
    """

    name: str
    section: Section
    of: Callable[[Json, Outline], Any]


def _server_tools(kind: str) -> Callable[[Json, Outline], bool]:
    def has(request: Json, _: Outline) -> bool:
        return any(str(tool.get("type", "")).startswith(kind) for tool in request.get("tools") or ())

    return has


def _skills(request: Json, _: Outline) -> Any:
    container = request.get("container")
    return container.get("skills") if isinstance(container, Mapping) else None


def _tool_choice(request: Json, _: Outline) -> Any:
    choice = request.get("tool_choice") or {}
    return [choice.get("type", "auto"), choice.get("name"), bool(choice.get("disable_parallel_tool_use"))]


def _thinking(request: Json, _: Outline) -> Any:
    thinking = request.get("thinking") or {}
    return [thinking.get("type", "disabled"), thinking.get("budget_tokens")]


def _output_config(name: str, default: Any = None) -> Callable[[Json, Outline], Any]:
    return lambda request, _: (request.get("output_config") or {}).get(name) or default


PARAMETERS: Final = (
    Parameter("workspace", "tools", lambda request, _: request.get("workspace_id")),
    Parameter("inference_geo", "tools", lambda request, _: request.get("inference_geo")),
    Parameter("mcp_servers", "tools", lambda request, _: request.get("mcp_servers")),
    Parameter("speed", "system", lambda request, _: request.get("speed") or "standard"),
    Parameter("web search", "system", _server_tools("web_search_")),
    Parameter("web fetch", "system", _server_tools("web_fetch_")),
    Parameter("citations", "system", lambda _, outline: outline.has("citations")),
    Parameter("skills", "system", _skills),
    Parameter("tool_choice", "messages", _tool_choice),
    Parameter("thinking", "messages", _thinking),
    Parameter("effort", "messages", _output_config("effort", _DEFAULT_EFFORT)),
    Parameter("output format", "messages", _output_config("format")),
    Parameter("task budget", "messages", _output_config("task_budget")),
    Parameter("images", "messages", lambda _, outline: outline.has("image")),
)
"""Citations and images are toggles of the whole request: the first one changes it, and so does losing the last."""


def values(request: Json, outline: Outline) -> dict[str, Any]:
    """Every parameter's value, by name, in a request whose messages have this outline."""
    return {parameter.name: parameter.of(request, outline) for parameter in PARAMETERS}


def salt(section: Section, values: Mapping[str, Any]) -> bytes:
    """The values that are mixed in before a section, as bytes."""
    mixed = [values[parameter.name] for parameter in PARAMETERS if parameter.section == section]
    return _encoder.encode(mixed).encode()


_encoder: Final = json.JSONEncoder(separators=(",", ":"), default=str)
