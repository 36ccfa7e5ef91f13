"""What besides the blocks is part of the cache's key: one row for each request parameter that the documents name.

A changed value loses its section of the prompt and all that follow (prompt-caching page, "What invalidates the
cache"). Values are normalised: a default that is spelled out is the same as one left out.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, get_args

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
        of: Its normalised value in a request, as far as that is told without its messages.
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


def _toggle(_: Json) -> bool:
    """Told by the messages."""
    return False


PARAMETERS: Final = (
    Parameter("workspace", "tools", lambda request: request.get("workspace_id")),
    Parameter("inference_geo", "tools", lambda request: request.get("inference_geo")),
    Parameter("mcp_servers", "tools", lambda request: request.get("mcp_servers")),
    Parameter("speed", "system", lambda request: request.get("speed") or "standard"),
    Parameter("web search", "system", _server_tools("web_search_")),
    Parameter("web fetch", "system", _server_tools("web_fetch_")),
    Parameter("citations", "system", _toggle),
    Parameter("skills", "system", _skills),
    Parameter("tool_choice", "messages", _tool_choice),
    Parameter("thinking", "messages", _thinking),
    Parameter("effort", "messages", _output_config("effort", _DEFAULT_EFFORT)),
    Parameter("output format", "messages", _output_config("format")),
    Parameter("task budget", "messages", _output_config("task_budget")),
    Parameter("images", "messages", _toggle),
)
"""Citations and images are toggles of the whole request: the first one changes it, and so does losing the last."""

FIELDS: Final = (
    "model", "tools", "system", "context_management", "workspace_id", "inference_geo", "mcp_servers", "speed",
    "container", "tool_choice", "thinking", "output_config",
)  # fmt: skip
"""The fields of a request that all this is told from, besides its messages."""


def values(request: Json) -> dict[str, Any]:
    """Every parameter's value, by name, in a request without messages."""
    return {parameter.name: parameter.of(request) for parameter in PARAMETERS}


def toggles(outline: Outline) -> dict[str, Any]:
    """The values that messages of this outline tell."""
    return {"citations": outline.has("citations"), "images": outline.has("image")}


def salt(section: Section, values: Mapping[str, Any]) -> bytes:
    """The values that are mixed in before a section, as bytes."""
    return _encoder.encode([values[name] for name in _NAMES[section]]).encode()


_NAMES: Final[Mapping[Section, Sequence[str]]] = {
    section: [parameter.name for parameter in PARAMETERS if parameter.section == section]
    for section in get_args(Section)
}


_encoder: Final = json.JSONEncoder(separators=(",", ":"), default=str)
