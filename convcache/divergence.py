"""Where a request leaves the one before it: the first path at which what they would cache differs, and both sides.

Knows what blocks a cached prefix is made of and what never is. Must not know which parameters count, hashing,
entries or who asks.
"""

import json
from collections.abc import Callable, Mapping
from itertools import zip_longest
from typing import Any, Final, NamedTuple

Body = Mapping[str, Any]

Parameters = Callable[[Body], Mapping[str, Any]]
"""Tells what else a request's prefix depends on besides its blocks, by name."""

_HOLD_BLOCKS: Final = ("content", "source", "tool", "definition", "tool_references")
_IN_ORDER: Final = frozenset({"input", "input_schema", "input_examples"})
"""Keys under which the order of keys is part of the prompt."""
_AROUND: Final = 40
_NOTHING: Final = object()


class Divergence(NamedTuple):
    """The first path that differs, and what stands there in the earlier request and in the later one."""

    path: str
    before: str
    now: str


class _Said(NamedTuple):
    """One content block, where it stands."""

    path: str
    role: str
    block: Any


def divergence(before: Body, now: Body, parameters: Parameters) -> Divergence | None:
    """Where the later of two requests no longer says what the earlier one said, or `None`.

    Tools, system and parameters must be the same to their end; messages may be appended or taken back from the end.
    Parameters come last, because an edited message says more than what it makes of them.
    """
    return (
        _unlike("", _head(before), _head(now))
        or _unlike_in_messages(before, now)
        or _unlike_in_parameters(parameters(before), parameters(now))
    )


def _unlike_in_parameters(before: Body, now: Body) -> Divergence | None:
    for name, old in before.items():
        found = _unlike(name, old, now[name])
        if found and _is_flat(old) and _is_flat(now[name]):
            return Divergence(name, _shown(old), _shown(now[name]))
        if found:
            return found
    return None


def _is_flat(value: Any) -> bool:
    """Whether it is a short list of words, which says more as a whole than the place of one of them."""
    return isinstance(value, list) and not any(isinstance(part, list | Mapping) for part in value)


def _unlike_in_messages(before: Body, now: Body) -> Divergence | None:
    for old, new in zip(_said(before), _said(now), strict=False):
        if old.role != new.role:
            path = new.path.partition(".content")[0]
            return Divergence(f"{path}.role", _shown(old.role), _shown(new.role))
        found = _unlike(new.path, old.block, new.block)
        if found:
            return found
    return None


def _head(body: Body) -> Body:
    """All that stands before the messages, in the order in which it is read."""
    tools = [tool for tool in body.get("tools") or () if not tool.get("defer_loading")]
    return {
        "model": body.get("model"),
        "tools": _plain(tools),
        "system": _plain(_as_blocks(body.get("system") or [])),
    }


def _said(body: Body) -> list[_Said]:
    """The blocks of all messages; turn-scoped ones vanish and are never part of a prefix."""
    return [
        _Said(f"messages.{number}.content.{index}", message["role"], _plain(block))
        for number, message in enumerate(body["messages"])
        if message.get("clear_at") != "next_user_message"
        for index, block in enumerate(_as_blocks(message["content"]))
    ]


def _as_blocks(content: Any) -> Any:
    """A string is the one text block it stands for."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _plain(block: Any) -> Any:
    """A block without its breakpoints; a user's own key of that name stays, where no blocks are."""
    if isinstance(block, list | tuple):
        return [_plain(part) for part in block]
    if not isinstance(block, Mapping):
        return block
    rest = {key: value for key, value in block.items() if key != "cache_control"}
    held = {key: _plain(rest[key]) for key in _HOLD_BLOCKS if key in rest}
    if "content" in held:
        held["content"] = _as_blocks(held["content"])
    return {**rest, **held}


def _unlike(path: str, before: Any, now: Any, *, in_order: bool = False) -> Divergence | None:
    """The first leaf at which two values differ."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        return _unlike_in_mappings(path, before, now, in_order=in_order)
    if isinstance(before, list) and isinstance(now, list):
        pairs = enumerate(zip_longest(before, now, fillvalue=_NOTHING))
        found = (_unlike(f"{path}.{index}", *sides, in_order=in_order) for index, sides in pairs)
        return next(filter(None, found), None)
    if type(before) is type(now) and before == now:
        return None
    return Divergence(path, *_around(before, now))


def _unlike_in_mappings(path: str, before: Body, now: Body, *, in_order: bool) -> Divergence | None:
    for key in dict.fromkeys([*before, *now]):
        sides = before.get(key, _NOTHING), now.get(key, _NOTHING)
        below = f"{path}.{key}".removeprefix(".")
        found = _unlike(below, *sides, in_order=in_order or key in _IN_ORDER)
        if found:
            return found
    if in_order and list(before) != list(now):
        return Divergence(path, *(f"keys in the order {', '.join(side)}" for side in (before, now)))
    return None


def _around(before: Any, now: Any) -> tuple[str, str]:
    """Both sides, cut to what surrounds the first character that differs."""
    if not isinstance(before, str) or not isinstance(now, str):
        return _shown(before), _shown(now)
    unlike = (at for at, pair in enumerate(zip(before, now, strict=False)) if pair[0] != pair[1])
    same = next(unlike, min(len(before), len(now)))
    return _shown(before, same), _shown(now, same)


def _shown(value: Any, at: int = 0) -> str:
    if value is _NOTHING:
        return "(nothing)"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    start, end = max(0, at - _AROUND), at + _AROUND
    cut = f"{'…' if start else ''}{text[start:end]}{'…' if end < len(text) else ''}"
    return json.dumps(cut, ensure_ascii=False) if isinstance(value, str) else cut
