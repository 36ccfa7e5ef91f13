"""A text cut into passages, and the passages that best fit the words of a question.

Knows words and how rare they are. Must not know conversations.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, lru_cache
from math import log
from typing import Final

import attrs

_STOP_WORDS: Final = """
    a about all also am an and any are as at be been but by can could did do does for from get give had has
    have he her here hi him his how i if in into is it its just know let like make may me more most my no
    not now of on one or our out please s say see she should show so some t tell than that the their them
    then there these they this to too us use was we were what when where which while who why will with would
    you your
"""
_STOP: Final = frozenset(_STOP_WORDS.split())
_LONGEST: Final = 420
_ENOUGH: Final = 0.25
"""Share of a question's weight that a passage has to hold to be an answer."""
_USUAL_STEMS: Final = 60


@attrs.frozen
class Passage:
    """A paragraph or list item under its heading."""

    heading: str
    text: str
    stems: frozenset[str] = attrs.field(
        init=False,
        default=attrs.Factory(lambda self: frozenset(stems(f"{self.heading} {self.text}")), takes_self=True),
    )

    @cached_property
    def sentences(self) -> list[str]:
        return sentences(self.text)

    def told(self, question: str) -> str:
        """As many of its sentences as make a comfortable answer, from the one that fits the question best."""
        asked, parts = set(stems(question)), self.sentences
        fits = [len(asked & set(stems(part))) for part in parts]
        start = fits.index(max(fits))
        told = parts[start]
        for sentence in parts[start + 1 :]:
            if len(told) + len(sentence) > _LONGEST:
                break
            told = f"{told} {sentence}"
        return told


def stems(text: str) -> list[str]:
    """The words that carry meaning, without their endings."""
    words = re.findall(r"[^\W_]+", text.lower())
    return [_stem(word) for word in words if word not in _STOP and len(word) > 1]


def sentences(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"(?<=[.!?])\s+(?=[\"'(`*A-Z0-9])", text) if part.strip()]


@lru_cache(maxsize=8)
def passages(text: str) -> tuple[Passage, ...]:
    """The paragraphs and list items of a plain or Markdown text, in order; code is left out."""
    found, heading = [], ""
    for part in _parts(text):
        if part.startswith("#"):
            heading = part.lstrip("# ").strip()
        elif stems(part):
            found.append(Passage(heading, part))
    return tuple(found)


def best(question: str, among: Sequence[Passage]) -> list[Passage]:
    """Those that hold enough of the question's words, the most telling first; short ones before long ones."""
    asked = set(stems(question))
    spread = Counter(stem for passage in among for stem in passage.stems & asked)
    weight = {stem: log(1 + len(among) / (spread[stem] or 0.5)) for stem in asked}
    enough = _ENOUGH * sum(weight.values())
    found = {
        place: sum(weight[stem] for stem in passage.stems & asked) for place, passage in enumerate(among)
    }
    fitting = [place for place, score in found.items() if score > enough]
    return [
        among[place] for place in sorted(fitting, key=lambda place: -found[place] / _length(among[place]))
    ]


def _length(passage: Passage) -> float:
    return 1 + len(passage.stems) / _USUAL_STEMS


def _parts(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", re.sub(r"```.*?(```|\Z)", "", text, flags=re.DOTALL)):
        yield from (part for part in _lines_joined(paragraph.splitlines()) if part)


def _lines_joined(lines: Iterable[str]) -> Iterator[str]:
    """Headings and list items stand alone; other lines run on."""
    running: list[str] = []
    for line in lines:
        if re.match(r"\s*(#|[-*+] |\d+[.)] )", line):
            yield " ".join(running)
            running = []
        if line.lstrip().startswith("#"):
            yield line.strip()
        else:
            running.append(re.sub(r"^\s*([-*+]|\d+[.)]) ", "", line).strip())
    yield " ".join(running)


def _stem(word: str) -> str:
    for ending in ("ing", "ies", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) > 2:  # noqa: PLR2004 - what is left is a word
            return word[: -len(ending)].rstrip("e")
    return word.rstrip("e")
