"""Where things stand in the messages of a request, as far as planning asks in every turn: read once, grown by a turn.

Knows the shape of messages; nothing of what a server leaves out, of digests, or of what is cached.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal

import attrs

from convcache.core.blocks import Json, is_turn_scoped
from convcache.core.growing import Growing
from convcache.core.piece import Piece, Trait

Feature = Literal["speech", "words", "turn-scoped"] | Trait
"""What is looked for: a person who speaks (tool results alone go on with a turn), a user's message that is a string (it
has to become a block: it carries a breakpoint once, and keeps the form that it was sent in), a system message that is
for one turn, and what is in a block."""

Place = tuple[int, int]
"""A message and a block in it."""

PiecesAt = Callable[[int], Sequence[Piece]]
"""Gives the blocks of a message, read."""

_NOWHERE: Growing[Place] = Growing()


@attrs.frozen
class Outline:
    """The features of messages.

    Attributes:
        count: How many messages were read.
        places: Where each feature stands, in order.
    """

    count: int = 0
    places: Mapping[Feature, Growing[Place]] = attrs.field(factory=dict)

    def grown(self, messages: Sequence[Json], pieces: PiecesAt) -> "Outline":
        """The outline of messages of which it is that of the first ones. Only the new ones are read."""
        count, new = len(messages), dict[Feature, list[Place]]()
        for index in range(self.count, count):
            for feature, place in _features(messages[index], pieces(index)):
                new.setdefault(feature, []).append((index, place))
        if not new:
            return Outline(count, self.places)
        grown = {feature: self._all(feature).plus(found) for feature, found in new.items()}
        return Outline(count, {**self.places, **grown})

    def first(self, count: int) -> "Outline":
        """The outline of the first messages alone."""
        if count == self.count:
            return self
        cut = {name: all_.first(bisect_left(all_, (count, 0))) for name, all_ in self.places.items()}
        return Outline(count, {name: places for name, places in cut.items() if places})

    def has(self, feature: Feature) -> bool:
        """Whether there is such a thing."""
        return bool(self._all(feature))

    def last(self, feature: Feature, *, before: int | None = None) -> Place | None:
        """Where the last one stands, or the last one before a message."""
        places = self._all(feature)
        end = len(places) if before is None else bisect_left(places, (before, 0))
        return places[end - 1] if end else None

    def messages(self, feature: Feature) -> Iterator[int]:
        """The messages that have it."""
        return (index for index, _ in self._all(feature))

    def _all(self, feature: Feature) -> Growing[Place]:
        return self.places.get(feature, _NOWHERE)


def _features(message: Json, pieces: Iterable[Piece]) -> Iterator[tuple[Feature, int]]:
    role = message["role"]
    if role == "user" and isinstance(message["content"], str):
        yield "words", 0
    elif role == "system" and is_turn_scoped(message):
        yield "turn-scoped", 0
    for place, piece in enumerate(pieces):
        if role == "user" and piece.kind != "tool_result":
            yield "speech", place
        for trait in piece.traits:
            if trait != "summary" or role == "assistant":
                yield trait, place
