"""Which tools a user's words ask for, and plausible input made from a JSON schema and those words.

Knows tool definitions and JSON schema's common keys. Must not know prose.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from convcache.emulator.wire import compact

Schema = Mapping[str, Any]

_DEEPEST: Final = 6
_LONGEST: Final = 200


def called(body: Mapping[str, Any], text: str, *, after_results: bool) -> list[Mapping[str, Any]]:
    """The offered tools to call now: those named in the text, or the one that is demanded."""
    choice = body.get("tool_choice") or {"type": "auto"}
    tools = [tool for tool in body.get("tools") or () if "input_schema" in tool]
    if choice.get("type") == "none" or after_results or not tools:
        return []
    named = [tool for tool in tools if _is_named(tool["name"], text)]
    if choice.get("type") == "tool":
        return [tool for tool in tools if tool["name"] == choice.get("name")]
    if choice.get("type") == "any" and not named:
        named = tools[:1]
    return named[:1] if choice.get("disable_parallel_tool_use") else named


def output_schema(body: Mapping[str, Any]) -> Schema | None:
    """The schema that the answer has to follow, if one is asked for."""
    format_ = (body.get("output_config") or {}).get("format") or body.get("output_format") or {}
    schema = format_.get("schema") if isinstance(format_, Mapping) else None
    return schema if isinstance(schema, Mapping) else None


def json_for(schema: Schema, text: str) -> str:
    return compact(_value(schema, "value", _Words(text), schema, 0))


def input_for(schema: Schema, text: str) -> dict[str, Any]:
    """Input for a tool: what is required, filled from the words of the text where they fit."""
    return _object(schema, _Words(text), schema, 0)


def _is_named(name: str, text: str) -> bool:
    spoken = re.escape(name).replace("_", "[_ ]").replace(r"\-", "[- ]")
    return re.search(rf"(?<!\w){spoken}(?!\w)", text, re.IGNORECASE) is not None


class _Words:
    """The parts of a text that could be arguments, each used once while there are others."""

    def __init__(self, text: str) -> None:
        self.text = text.strip()
        self._numbers = re.findall(r"-?\d+(?:\.\d+)?", text)
        self._names: list[str] = [
            *re.findall(r"[\"“']([^\"”']+)[\"”']", text),
            *re.findall(r"(?<=[a-z] )[A-Z][\w-]+", text),
        ]

    def number(self) -> float:
        return float(self._numbers.pop(0)) if self._numbers else 1.0

    def string(self, key: str) -> str:
        if self._names:
            return self._names.pop(0)
        return self.text[:_LONGEST] or key.replace("_", " ")


def _object(schema: Schema, words: _Words, root: Schema, depth: int) -> dict[str, Any]:
    properties = schema.get("properties")
    if not isinstance(properties, Mapping) or depth > _DEEPEST:
        return {}
    required = schema.get("required")
    wanted = (
        [key for key in properties if key in required] if isinstance(required, Sequence) else list(properties)
    )
    return {key: _value(properties[key], key, words, root, depth + 1) for key in wanted}


def _value(schema: Any, key: str, words: _Words, root: Schema, depth: int) -> Any:
    schema = _resolved(schema, root)
    for fixed in ("const", "default"):
        if fixed in schema:
            return schema[fixed]
    if schema.get("enum"):
        return next(
            (choice for choice in schema["enum"] if str(choice).lower() in words.text.lower()),
            schema["enum"][0],
        )
    if schema.get("examples"):
        return schema["examples"][0]
    either = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
    if either and depth <= _DEEPEST:
        return _value(either[0], key, words, root, depth + 1)
    return _of_type(schema, key, words, root, depth)


def _of_type(schema: Schema, key: str, words: _Words, root: Schema, depth: int) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    match kind[0] if isinstance(kind, list) and kind else kind:
        case "object":
            return _object(schema, words, root, depth)
        case "array":
            items = schema.get("items") or {}
            return [_value(items, key, words, root, depth + 1)] if depth <= _DEEPEST else []
        case "integer" | "number" as number:
            return _number(schema, words, whole=number == "integer")
        case "boolean" | "null" as simple:
            return True if simple == "boolean" else None
    return words.string(key)


def _number(schema: Schema, words: _Words, *, whole: bool) -> float:
    value = words.number()
    for limit, fit in (("minimum", max), ("maximum", min)):
        if isinstance(schema.get(limit), int | float):
            value = fit(value, schema[limit])
    return int(value) if whole else value


def _resolved(schema: Any, root: Schema) -> Schema:
    """Follows a local `$ref`, once."""
    if not isinstance(schema, Mapping):
        return {}
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return schema
    found: Any = root
    for name in reference.removeprefix("#/").split("/"):
        found = found.get(name, {}) if isinstance(found, Mapping) else {}
    return found if isinstance(found, Mapping) else {}
