"""What changes by itself in the head of a prompt, and so makes every request write the cache anew.

Compares the tools and system of two requests that belong together. Knows what clocks, ids and counters look like;
nothing of digests, entries or prices, nor of what to do about it.
"""

import json
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

import attrs

from convcache.core.blocks import Json, unmarked
from convcache.core.textdiff import MAX_SHOWN, excerpts, is_other, is_reordered, shared_start, with_neighbours

_REACH: Final = 64
"""How far a token may begin before the place where two texts part."""
_MAX_CHANGES: Final = 100

_WEEKDAY: Final = r"(?:Mon|Tues?|Wed(?:nes)?|Thu(?:rs?)?|Fri|Sat(?:ur)?|Sun)(?:day)?"
_MONTH: Final = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?"
    r"|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)"
)
_DAY: Final = r"\d{1,2}(?:st|nd|rd|th)?"
_DATE: Final = (
    r"\d{4}[-/]\d{1,2}[-/]\d{1,2}|\d{1,2}[/.]\d{1,2}[/.]\d{4}|\d{1,2}/\d{1,2}/\d{2}|\d{4}年\d{1,2}月\d{1,2}日"
    r"|(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])[T_-]?\d{4}(?:\d{2})?Z?"
    # Behind a name, a bare date is a version.
    r"|(?<![_-])(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
    rf"|(?:{_DAY}\.?[ -])?{_MONTH}\.?(?:(?: {{1,2}}|-){_DAY}(?![\d:]))?(?:,?[ -]\d{{4}})?"
)
_CLOCK: Final = (
    r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?: ?[AaPp]\.?[Mm]\b)?(?: ?(?:Z|UTC|GMT|[A-Z]{2,4}T)\b)?(?: ?[+-]\d{2}:?\d{2})?"
    r"|\d{1,2} ?[AaPp][Mm]"
)
_MOMENT: Final = rf"(?:{_WEEKDAY}|{_DATE}|{_CLOCK})"
_EPOCH: Final = r"(?:1\d|2[0-4])\d{8}(?:\d{3}|\d{6}|\d{9})?(?:\.\d+)?"
_UUID: Final = r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
_RANDOM: Final = (
    r"(?=[A-Za-z]*\d)(?=\d*[A-Za-z])(?![A-Za-z]{3,}\d{1,4}(?![A-Za-z0-9]))"
    r"[A-Za-z0-9]{6,}(?:[_-]+[A-Za-z0-9]+)*"
)
"""Letters and digits mixed, but no word with a number behind it."""


def _alone(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![A-Za-z0-9])(?:{pattern})(?![A-Za-z0-9])", re.ASCII)


class Kind(StrEnum):
    """What kind of thing changed."""

    TIMESTAMP = "timestamp"
    """A date, a time of day, both, or seconds since 1970."""

    ID = "id"
    """A UUID, a hash, an address, or another name made up by a machine."""

    COUNTER = "counter"
    """A number that moved, up or down: messages so far, tokens left, days since."""

    ORDER = "order"
    """The same things in another order: tools, keys of a schema, items of a list, lines of a text."""

    TEXT = "text"
    """Some other words, in a text that is otherwise the same."""


_TOKENS: Final = {
    Kind.TIMESTAMP: _alone(rf"{_MOMENT}(?:(?:,? at |,? ?|[T_-]){_MOMENT})*(?: \d{{4}})?|{_EPOCH}"),
    Kind.ID: _alone(rf"{_UUID}|0x[0-9A-Fa-f]{{4,}}|\d{{12,}}|(?:[A-Za-z]+[_-]+)*{_RANDOM}"),
    # Neither a part of a name nor of a version: those are edited by people.
    Kind.COUNTER: re.compile(
        r"(?<![\w.-])\d+(?:,\d{3})*(?:\.\d+)?(?:%|[A-Za-z]{1,2})?(?![A-Za-z0-9])(?!\.\d)", re.ASCII
    ),
}


@attrs.frozen
class Volatile:
    """A place in the head of a prompt that is not what it was one request ago.

    Attributes:
        path: Where it stands in the later request: `system[0]`, also for a system prompt that is a string;
            `tools`, `tools[3].description`, `tools[3].input_schema.required`.
        kind: What kind of thing it is.
        before: What stood there: the whole date, id or word; a number with the words around it; of an order, as far
            as it changed. At most `MAX_SHOWN` characters.
        after: What stands there now.
    """

    path: str
    kind: Kind
    before: str
    after: str


def volatile(before: Json, after: Json) -> Volatile | None:
    """What changed by itself between two requests, at the first place in prompt order where their heads differ.

    Args:
        before: The earlier request's body; only `tools` and `system` are looked at.
        after: The later one's.

    Returns:
        The change; `None` if the heads are the same but for breakpoints and deferred tools, which are not part of
        the prompt. `None` too where somebody meant it: tools or system blocks were added, removed or replaced, or
        less than half of the first one that differs is still there, and not for clocks, ids and counters alone.
    """
    try:
        for section in ("tools", "system"):
            old, new = _parts(before.get(section)), _parts(after.get(section))
            if [_written(part.said) for part in old] != [_written(part.said) for part in new]:
                return _in_section(section, old, new)
    except RecursionError:
        # Nested deeper than Python writes JSON, so it was never sent.
        return None
    return None


class _Part(NamedTuple):
    """A tool or a block of the system prompt, without breakpoints, and its place in the request."""

    place: int
    said: Any


def _parts(given: Any) -> list[_Part]:
    items = given if isinstance(given, list | tuple) else [] if given is None else [given]
    return [_Part(place, _plain(item)) for place, item in enumerate(items) if not _is_deferred(item)]


def _is_deferred(item: Any) -> bool:
    return isinstance(item, Mapping) and bool(item.get("defer_loading"))


def _plain(item: Any) -> Any:
    """A part as the cache tells it apart: a block of text is its text, and the order of own keys does not count."""
    plain = unmarked(item)
    match plain:
        case {"type": "text", "text": str(text), **rest} if not rest:
            return text
        case Mapping():
            return {key: plain[key] for key in sorted(plain, key=str)}
    return plain


def _name(section: str, part: _Part) -> Any:
    """What tells a part from its neighbours."""
    is_tool = section == "tools" and isinstance(part.said, Mapping)
    return part.said.get("name") if is_tool else part.said


def _in_section(section: str, before: list[_Part], after: list[_Part]) -> Volatile | None:
    names, new_names = ([_name(section, part) for part in side] for side in (before, after))
    if _are_reordered(names, new_names):
        return _reordered(section, names, new_names, between=", " if section == "tools" else "\n")
    if len(before) != len(after):
        return None
    old, new = next(pair for pair in zip(before, after, strict=True) if _differ(pair[0].said, pair[1].said))
    path, name, new_name = f"{section}[{new.place}]", _name(section, old), _name(section, new)
    if section == "tools" and _differ(name, new_name):
        found = _in_text(f"{path}.name", _text(name), _text(new_name))
        return found.change if found.is_all else None
    found = _in_json(path, old.said, new.said)
    return None if not found.is_all and is_other(_text(old.said), _text(new.said)) else found.change


class _Found(NamedTuple):
    """The first change, and whether clocks, ids, counters and order are all that changed around it."""

    change: Volatile
    is_all: bool


def _in_json(path: str, before: Any, after: Any) -> _Found:
    """The change at the first place at which two unlike values differ."""
    while True:
        match before, after:
            case Mapping(), Mapping() if before.keys() == after.keys():
                if list(before) != list(after):
                    return _Found(_reordered(path, list(before), list(after)), is_all=True)
                key = next(key for key in before if _differ(before[key], after[key]))
                path, before, after = f"{path}.{key}", before[key], after[key]
            case (list() | tuple(), list() | tuple()) if len(before) == len(after):
                if _are_reordered(before, after):
                    return _Found(_reordered(path, before, after), is_all=True)
                pairs = zip(before, after, strict=True)
                place = next(place for place, pair in enumerate(pairs) if _differ(*pair))
                path, before, after = f"{path}[{place}]", before[place], after[place]
            case str(), str():
                return _in_text(path, before, after)
            case _:
                return _in_text(path, _written(before), _written(after))


def _differ(before: Any, after: Any) -> bool:
    return _written(before) != _written(after)


def _written(value: Any) -> str:
    """JSON in the order in which it was given, which is part of the prompt."""
    return json.dumps(value, ensure_ascii=False, default=repr)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else _written(value)


def _are_reordered(before: Sequence[Any], after: Sequence[Any]) -> bool:
    if len(before) != len(after):
        return False
    old, new = ([_written(item) for item in side] for side in (before, after))
    return old != new and sorted(old) == sorted(new)


def _reordered(path: str, before: Sequence[Any], after: Sequence[Any], *, between: str = ", ") -> Volatile:
    sides = excerpts(*(between.join(map(_text, side)) for side in (before, after)))
    return Volatile(path, Kind.ORDER, *(side.removesuffix(between.rstrip()) for side in sides))


def _in_text(path: str, before: str, after: str) -> _Found:
    """The first change of an unlike text. Tokens that only changed places are an order."""
    changes, is_all = _changes(before, after)
    old, new = (sorted(change[side][0] for change in changes) for side in (1, 2))
    if (is_all and len(old) > 1 and old == new) or (not is_all and is_reordered(before, after)):
        return _Found(Volatile(path, Kind.ORDER, *excerpts(before, after)), is_all=True)
    if changes:
        return _Found(Volatile(path, *changes[0].shown), is_all)
    return _Found(Volatile(path, Kind.TEXT, *excerpts(before, after)), is_all=False)


class _Change(NamedTuple):
    """Two tokens of one kind in the same place."""

    kind: Kind
    before: re.Match[str]
    after: re.Match[str]

    @property
    def shown(self) -> tuple[Kind, str, str]:
        return self.kind, self._told(self.before), self._told(self.after)

    def _told(self, token: re.Match[str]) -> str:
        """The token; a number says nothing without the words around it."""
        told = with_neighbours(token.string, *token.span()) if self.kind is Kind.COUNTER else token[0]
        return told[:MAX_SHOWN]


def _changes(before: str, after: str) -> tuple[list[_Change], bool]:
    """The tokens that changed, from the start to where something else does; and whether they are all that did."""
    found: list[_Change] = []
    at, now_at = 0, 0
    while len(found) < _MAX_CHANGES:
        same = shared_start(before[at:], after[now_at:])
        at, now_at = at + same, now_at + same
        if at == len(before) and now_at == len(after):
            return found, True
        change = _change(before, at, after, now_at, reach=min(same, _REACH))
        if change is None:
            break
        found.append(change)
        at, now_at = change.before.end(), change.after.end()
    return found, False


def _change(before: str, at: int, after: str, now_at: int, *, reach: int) -> _Change | None:
    """The tokens that two texts, alike for `reach` characters before, hold at the place where they part."""
    for kind, pattern in _TOKENS.items():
        old, new = _token(pattern, before, at, reach), _token(pattern, after, now_at, reach)
        if old and new and old[0] != new[0] and at - old.start() == now_at - new.start():
            return _Change(kind, old, new)
    return None


def _token(pattern: re.Pattern[str], text: str, at: int, reach: int) -> re.Match[str] | None:
    """What matches a pattern around a place, or ends there."""
    tokens = pattern.finditer(text, at - reach, at + 2 * _REACH)
    found = next((token for token in tokens if token.end() >= at), None)
    return found if found and found.start() <= at else None
