"""A conversation between two turns, as a value: its messages, how its turns were booked, and where breakpoints should be.

Every verb gives another history. Knows what is kept, and nothing of what is on its way.
"""

from typing import Self

import attrs

from convcache.core.diagnosis import Sent
from convcache.core.events import Turn
from convcache.core.growing import Growing
from convcache.core.node import Node
from convcache.core.planner import Landmarks
from convcache.core.prompt import Prompt
from convcache.core.transcript import Transcript


@attrs.frozen
class KeptTurn:
    """A turn of the history.

    Attributes:
        turn: Its booking, unless that failed.
        tail: Where the last breakpoint of its request was.
    """

    turn: Turn | None
    tail: Node | None


@attrs.frozen(kw_only=True)
class History:
    """What was said and kept.

    Attributes:
        transcript: The messages.
        kept: The turns among them.
        pins: The ends of turns that keep a breakpoint.
    """

    transcript: Transcript
    kept: Growing[KeptTurn] = attrs.field(factory=Growing)
    pins: tuple[Node, ...] = ()

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The booked turns."""
        return tuple(kept.turn for kept in self.kept if kept.turn is not None)

    @property
    def tail(self) -> Node | None:
        """The last tail of a kept turn."""
        return next((kept.tail for kept in reversed(self.kept) if kept.tail is not None), None)

    def with_transcript(self, transcript: Transcript) -> Self:
        """The same turns, with what is staged or changed in that."""
        return attrs.evolve(self, transcript=transcript)

    def pinned(self) -> Self:
        """With a breakpoint that stays at the end of the last turn.

        Raises:
            ValueError: There is none.
        """
        tail = self.kept[-1].tail if self.kept else None
        if tail is None:
            raise ValueError("there is nothing to pin: no turn was sent yet whose prompt was cached")
        return attrs.evolve(self, pins=(*self.pins, tail))

    def rewound(self, turns: int) -> Self:
        """Without the last turns.

        Raises:
            ValueError: There are not that many.
        """
        transcript = self.transcript.rewound(turns)
        kept = self.kept.first(len(self.kept) - turns)
        return attrs.evolve(self, transcript=transcript, kept=kept)

    def edited(self, transcript: Transcript) -> Self:
        """With other messages."""
        are_the_same = len(transcript.turns) == len(self.kept)
        kept = self.kept if are_the_same else Growing[KeptTurn]()
        return attrs.evolve(self, transcript=transcript, kept=kept)

    def answered(self, before: Transcript, after: Transcript) -> Self:
        """With a turn more than before, to be booked yet."""
        kept = self.kept.first(len(before.turns))
        return type(self)(transcript=after, kept=kept, pins=self.pins)

    def booked(self, turn: Turn | None, tail: Node | None) -> Self:
        """With the booking of its last turn."""
        kept = self.kept.plus([KeptTurn(turn, tail)])
        return type(self)(transcript=self.transcript, kept=kept, pins=self.pins)

    def landmarks(
        self, prompt: Prompt, transcript: Transcript, last: Sent | None, parting: int | None
    ) -> Landmarks:
        """Where breakpoints should be in a prompt that goes on from a transcript: at the tail of the last turn that is
        still as it was, and where forks part, after so many messages."""
        anchor = None
        if last is None or not prompt.changed(last.fields):
            for kept in reversed(self.kept):
                if kept.tail is not None and (anchor := prompt.nodes.find(kept.tail)) is not None:
                    break
        border = None if parting is None else parting - transcript.start
        return Landmarks(anchor=anchor, pins=self.pins, parting=border)
