"""Whether messages are the ones that were seen before, told by comparing all that is in them.

For requests of others, who may have changed anything since, in place as well. What was seen is kept in containers of
its own that share its strings: Python compares those at once, and seldom has to read a text. What equality leaves
open is remembered besides, the order of keys and whether a number is 1, 1.0 or true.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate, compress, islice, takewhile
from operator import eq
from sys import getsizeof
from typing import Any, Final

import attrs

from convcache.core.blocks import Json
from convcache.core.growing import Growing

Path = tuple[str | int, ...]
"""The keys and indices that lead to a value in a message."""

Form = tuple[Path, Callable[[Any], Any], Any]
"""A value in a message that others are equal to without being the same, what tells them apart, and what it tells: the
order of an object's keys, the types of what a list or an object holds, the sign of a zero."""

Forms = tuple[Form, ...]
"""Those of a message."""

_UNKNOWN: Final = object()

_PLAIN: Final = frozenset({str, dict, list, type(None)})
"""Types of what is equal to nothing of another type."""

_BYTES: Final = 200
"""What a container or a form takes."""

_PLACE: Final = 8
"""What a place in a container takes."""

_FEW: Final = 8
"""Fewer forms than this has a message of a common shape."""

_SHORT: Final = 300
"""Characters in the keys of a common shape, at most: longer ones may be keyed by what somebody wrote."""

_SHAPES: Final = 64
"""Common shapes that are remembered."""


@attrs.frozen
class Seen:
    """Messages that were seen.

    Attributes:
        items: A copy of each. In the place of what is not JSON stands what nothing is equal to.
        forms: The forms that are looked for in each.
        sizes: How many bytes are kept, up to the end of each.
        shapes: Forms that many messages have. All that grew from one another share them.
    """

    items: Growing[Any] = attrs.field(factory=Growing, repr=False)
    forms: Growing[Forms] = attrs.field(factory=Growing, repr=False)
    sizes: Growing[int] = attrs.field(factory=Growing, repr=False)
    shapes: dict[Forms, Forms] = attrs.field(factory=dict, eq=False, repr=False)

    def begins(self, messages: Sequence[Any]) -> int:
        """How many messages others begin with that are the same."""
        start = 0
        for items, forms in zip(self.items.chunks(), self.forms.chunks(), strict=True):
            theirs = tuple(messages[start : start + len(items)])
            equal = len(items) if items == theirs else _count(map(eq, items, theirs))
            same = _written_alike(theirs[:equal], forms)
            start += same
            if same < len(items):
                break
        return start

    def grown(self, messages: Sequence[Any], known: int) -> "Seen":
        """Messages of which so many were seen before. Only the new ones are copied."""
        copies = [_Copy(messages[at]) for at in range(known, len(messages))]
        sizes = accumulate((copy.size for copy in copies), initial=self.sizes[known - 1] if known else 0)
        return Seen(
            self.items.first(known).plus(copy.item for copy in copies),
            self.forms.first(known).plus(_shared(tuple(copy.forms), self.shapes) for copy in copies),
            self.sizes.first(known).plus(islice(sizes, 1, None)),
            self.shapes,
        )

    @property
    def size(self) -> int:
        """How many bytes are kept, with the text; roughly."""
        return self.sizes[-1] if self.sizes else 0


def _count(are_equal: Iterable[bool]) -> int:
    return sum(1 for _ in takewhile(bool, are_equal))


def _written_alike(messages: Sequence[Any], forms: Sequence[Forms]) -> int:
    """How many of these messages have these forms."""
    for at in compress(range(len(messages)), forms):
        for path, look, told in forms[at]:
            value = messages[at]
            for key in path:
                value = value[key]
            if look(value) != told:
                return at
    return len(messages)


class _Copy:
    """A copy of a message, and what was found in it."""

    __slots__ = ("forms", "item", "size")

    def __init__(self, message: Any) -> None:
        self.size, self.forms = 0, list[Form]()
        self.item = self._copied(message, ())

    def _copied(self, value: Any, path: Path) -> Any:
        if isinstance(value, str):
            text = str.__str__(value)  # not what a subclass says
            self.size += getsizeof(text)
            return text
        if value is None:
            self.size += _PLACE
            return value
        self.size += _BYTES
        if isinstance(value, (dict, Mapping)) and {str}.issuperset(map(type, value)):
            if len(value) > 1 and _is_ordered(value, path):
                self._found(path, tuple, value)
            if not _PLAIN.issuperset(map(type, value.values())):
                self._found(path, _types, value)
            self.size += sum(map(getsizeof, value))
            return {key: self._copied(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            if not _PLAIN.issuperset(map(type, value)):
                self._found(path, _types, value)
            return [self._copied(item, (*path, index)) for index, item in enumerate(value)]
        if isinstance(value, float) and value == 0:
            self._found(path, repr, value)
        return value if isinstance(value, (int, float)) else _UNKNOWN

    def _found(self, path: Path, look: Callable[[Any], Any], value: Any) -> None:
        told = look(value)
        self.size += _BYTES + _PLACE * len(told)
        self.forms.append((path, look, told))


def _is_ordered(value: Json, path: Path) -> bool:
    """Whether the order of its keys tells an object from others: not that of a block's own, wherever blocks stand, nor of
    role and content."""
    if not path:
        return len(value) > 2  # noqa: PLR2004 - role and content
    return path[::2] != ("content",) * (len(path) // 2) or len(path) % 2 == 1


def _types(value: Any) -> tuple[type, ...]:
    items = value.values() if isinstance(value, (dict, Mapping)) else value
    return tuple(str if isinstance(item, str) else type(item) for item in items)


def _shared(forms: Forms, shapes: dict[Forms, Forms]) -> Forms:
    """One object for the many that are alike: most messages of a history have one of a few shapes."""
    if not forms or len(forms) >= _FEW or sum(map(_length, forms)) > _SHORT:
        return forms
    return shapes.setdefault(forms, forms) if len(shapes) < _SHAPES else shapes.get(forms, forms)


def _length(form: Form) -> int:
    """How many characters are in the keys that a form names."""
    path, _, told = form
    return sum(len(key) for key in (*path, *told) if isinstance(key, str))
