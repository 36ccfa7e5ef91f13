"""Two texts side by side: where they part, where they go on alike, and whether one is the other at all.

Knows words and white space; nothing of what the texts mean or where they stand.
"""

import re
from collections import Counter
from itertools import pairwise
from typing import Final

MAX_SHOWN: Final = 100
"""The most characters that are told of either text."""

_ALIKE: Final = 24
"""How many characters two texts have in common where they go on alike."""
_MAX_WORD: Final = 40
_WORD: Final = re.compile(r"\w+")
_WORD_BEFORE: Final = re.compile(rf"\S{{0,{_MAX_WORD}}}\Z")
_WORD_AFTER: Final = re.compile(rf"\S{{0,{_MAX_WORD}}}")
_WORDS_BEFORE: Final = re.compile(r"(?:\S{1,12}[ \t]){0,2}\S{0,8}\Z")
_WORDS_AFTER: Final = re.compile(r"\S{0,8}(?:[ \t]\S{1,12}){0,2}")


def shared_start(before: str, after: str) -> int:
    """How many characters two texts share from their start."""
    low, high = 0, min(len(before), len(after))
    while low < high:
        middle = (low + high + 1) // 2
        if before[low:middle] == after[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def excerpts(before: str, after: str) -> tuple[str, str]:
    """What differs in two texts first, in whole words."""
    start, end = _ends(before, after)
    stops = len(before) - end, len(after) - end
    if max(stops) - start > MAX_SHOWN:
        stops = _meeting(before, after, start) or stops
    old, new = (_widened(text, start, stop) for text, stop in zip((before, after), stops, strict=True))
    return old[:MAX_SHOWN], new[:MAX_SHOWN]


def is_other(before: str, after: str) -> bool:
    """Whether less than half of a text is in the other: at its ends, or by pairs of words in whatever place."""
    start, end = _ends(before, after)
    length, same = max(len(before), len(after)), start + end
    if same * 2 >= length:
        return False
    middles = before[start : len(before) - end], after[start : len(after) - end]
    old, new = (Counter(pairwise(_WORD.findall(text))) for text in middles)
    kept = (old & new).total() / max(old.total(), new.total(), 1)
    return (same + kept * (length - same)) * 2 < length


def is_reordered(before: str, after: str) -> bool:
    """Whether what differs is the same words in another order."""
    middles = _middles(before, after)
    if len(middles[0]) != len(middles[1]):
        return False
    old, new = (_WORD.findall(text) for text in middles)
    return old != new and Counter(old) == Counter(new)


def with_neighbours(text: str, start: int, end: int) -> str:
    """A part of a text with the two words on each side of it, as far as they are short and on the same line."""
    return _widened(text, start, end, _WORDS_BEFORE, _WORDS_AFTER)


def _ends(before: str, after: str) -> tuple[int, int]:
    """How many characters two texts share at their start, and then at their end."""
    start = shared_start(before, after)
    return start, shared_start(before[start:][::-1], after[start:][::-1])


def _middles(before: str, after: str) -> tuple[str, str]:
    """What differs in two texts, from the first word that does to the last."""
    start, end = _ends(before, after)
    return _widened(before, start, len(before) - end), _widened(after, start, len(after) - end)


def _meeting(before: str, after: str, start: int) -> tuple[int, int] | None:
    """Where two texts that part at `start` soonest go on alike."""
    reach = start + MAX_SHOWN
    met = [
        (at, now_at)
        for at in range(start, min(reach, len(before) - _ALIKE))
        if (now_at := after.find(before[at : at + _ALIKE], start, reach + _ALIKE)) >= 0
    ]
    return min(met, key=lambda stops: (sum(stops), abs(stops[0] - stops[1])), default=None)


def _widened(
    text: str,
    start: int,
    end: int,
    to_start: re.Pattern[str] = _WORD_BEFORE,
    to_end: re.Pattern[str] = _WORD_AFTER,
) -> str:
    """A part of a text with what matches right before and after it: whole words, unless other patterns are given."""
    left, right = to_start.search(text, max(0, start - _MAX_WORD), start), to_end.match(text, end)
    return text[left.start() if left else start : right.end() if right else end]
