"""A text cut into passages, and the passages that best fit the words of a question.

Knows words and how rare they are. Must not know conversations.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
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


@attrs.frozen
class Passage:
    """A paragraph or list item under its heading."""

    heading: str
    text: str
    stems: frozenset[str] = attrs.field(
        init=False,
        default=attrs.Factory(lambda self: frozenset(stems(f"{self.heading} {self.text}")), takes_self=True),
    )

    @property
    def opening(self) -> str:
        """As many of its sentences as make a comfortable answer, at least one."""
        told = ""
        for sentence in sentences(self.text):
            if told and len(told) + len(sentence) > _LONGEST:
                break
            told = f"{told} {sentence}".strip()
        return told


def stems(text: str) -> list[str]:
    """The words that carry meaning, without their endings."""
    words = re.findall(r"[^\W_]+", text.lower())
    return [_stem(word) for word in words if word not in _STOP and len(word) > 1]


def sentences(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"(?<=[.!?])\s+(?=[\"'(`*A-Z0-9])", text) if part.strip()]


def passages(text: str) -> list[Passage]:
    """The paragraphs and list items of a plain or Markdown text, in order; code is left out."""
    found, heading = [], ""
    for part in _parts(text):
        if part.startswith("#"):
            heading = part.lstrip("# ").strip()
        elif stems(part):
            found.append(Passage(heading, part))
    return found


def best(question: str, among: Sequence[Passage]) -> list[Passage]:
    """Those that share words with the question, the most telling first."""
    asked = set(stems(question))
    spread = Counter(stem for passage in among for stem in passage.stems & asked)
    weight = {stem: log(1 + len(among) / count) for stem, count in spread.items()}
    scored = [
        (sum(weight[stem] for stem in passage.stems & asked), -place) for place, passage in enumerate(among)
    ]
    return [among[-place] for score, place in sorted(scored, reverse=True) if score > 0]


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
        if word.endswith(ending) and len(word) - len(ending) > 2:  # noqa: PLR2004
            return word[: -len(ending)].rstrip("e")
    return word.rstrip("e")
