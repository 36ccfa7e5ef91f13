"""What else a prefix depends on besides its blocks: one row per parameter and the level it is mixed in at.

Knows the invalidation table (api-facts section 6). Must not know how digests are made.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import attrs

from convcache.emulator.bodies import folded
from convcache.emulator.catalog import Model
from convcache.emulator.layout import Body, Section, blocks_of, is_deferred
from convcache.emulator.settings import Settings


@attrs.frozen
class Asked:
    """A request and the terms under which its parameters are read."""

    body: Body
    model: Model
    settings: Settings
    betas: frozenset[str] = frozenset()

    @property
    def output_config(self) -> Mapping[str, Any]:
        return self.body.get("output_config") or {}

    @property
    def tools(self) -> list[Mapping[str, Any]]:
        return list(self.body.get("tools") or ())

    def says(self, key: str, holds: Callable[[Mapping[str, Any]], bool]) -> bool:
        """Whether it holds for a content block of any message, or for one inside a tool result or document."""

        def step(so_far: bool, _place: int, message: Mapping[str, Any]) -> bool:
            return so_far or any(map(holds, _blocks(message)))

        return folded(self.body["messages"], key, False, step)


@attrs.frozen
class Salt:
    """A parameter that is part of the key from one section on."""

    name: str
    level: Section | Callable[[Settings], Section]
    of: Callable[[Asked], Any]

    def is_at(self, level: Section, settings: Settings) -> bool:
        return level == (self.level(settings) if callable(self.level) else self.level)


def _blocks(message: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for block in blocks_of(message.get("content"))[0]:
        yield from _with_inner(block)


def _with_inner(block: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield block
    source = block.get("source")
    for holder in (block, source if isinstance(source, Mapping) else {}):
        inner = holder.get("content")
        for part in inner if isinstance(inner, list) else ():
            if isinstance(part, Mapping):
                yield from _with_inner(part)


def _tool_choice(asked: Asked) -> Any:
    choice = asked.body.get("tool_choice") or {}
    return [choice.get("type", "auto"), choice.get("name"), bool(choice.get("disable_parallel_tool_use"))]


def _thinking(asked: Asked) -> Any:
    thinking = asked.body.get("thinking") or {}
    return [thinking.get("type", asked.model.default_thinking), thinking.get("budget_tokens")]


def _effort(asked: Asked) -> Any:
    return asked.output_config.get("effort") or asked.model.default_effort


def _format(asked: Asked) -> Any:
    return asked.output_config.get("format") or asked.body.get("output_format")


def _has_images(asked: Asked) -> bool:
    return asked.settings.images != "in_place" and asked.says("images", _is_image)


def _is_image(block: Mapping[str, Any]) -> bool:
    return block.get("type") == "image"


def _has_citations(asked: Asked) -> bool:
    return any(_is_cited(tool) for tool in asked.tools) or asked.says("citations", _is_cited)


def _is_cited(block: Mapping[str, Any]) -> bool:
    citations = block.get("citations")
    return isinstance(citations, Mapping) and bool(citations.get("enabled"))


def _skills(asked: Asked) -> Any:
    container = asked.body.get("container")
    skills = container.get("skills") if isinstance(container, Mapping) else None
    return [[skill.get("type"), skill.get("skill_id"), skill.get("version")] for skill in skills or ()]


def _mcp_servers(asked: Asked) -> Any:
    servers = asked.body.get("mcp_servers") or ()
    return [
        {key: server[key] for key in sorted(server) if key != "authorization_token"} for server in servers
    ]


def _geo(asked: Asked) -> Any:
    return asked.body.get("inference_geo") if asked.settings.geo_partitions else None


def _betas(asked: Asked) -> Any:
    return sorted(asked.betas) if asked.settings.betas_in_key else None


def _offers_tools(asked: Asked) -> bool:
    """Whether the prompt has a tools part: a later addition to a request without one calls it into being."""
    declared = any(not is_deferred(tool) for tool in asked.tools)
    return declared or asked.says("additions", _is_addition)


def _is_addition(block: Mapping[str, Any]) -> bool:
    return block.get("type") == "tool_addition"


def _before_messages(settings: Settings) -> Section:
    return "tools" if settings.thinking_first else "messages"


SALTS: Final = (
    Salt("inference_geo", "tools", _geo),
    Salt("betas", "tools", _betas),
    Salt("mcp_servers", "tools", _mcp_servers),
    Salt("offers_tools", "tools", _offers_tools),
    Salt(
        "speed",
        lambda settings: "tools" if settings.strict_speed else "system",
        lambda asked: asked.body.get("speed") or "standard",
    ),
    Salt("citations", "system", _has_citations),
    Salt("skills", "system", _skills),
    Salt("tool_choice", "messages", _tool_choice),
    Salt("thinking", _before_messages, _thinking),
    Salt("effort", _before_messages, _effort),
    Salt("format", "messages", _format),
    Salt("task_budget", "messages", lambda asked: asked.output_config.get("task_budget")),
    Salt("images", "messages", _has_images),
)
"""Web search and web fetch have no row: their definitions are rendered with the system prompt (see `rendering`)."""


def salts_at(level: Section, asked: Asked) -> list[Any]:
    """The values mixed in before the first block of a section."""
    return [[salt.name, salt.of(asked)] for salt in SALTS if salt.is_at(level, asked.settings)]
