"""Changes of the history: what one would make of it, what that costs now, and which wait for a better time."""

from collections.abc import Callable
from copy import deepcopy
from math import inf
from typing import Self, get_args

import attrs

from convcache.core.blocks import unmarked
from convcache.core.edit import Change, Edit, When
from convcache.core.planner import Plan
from convcache.core.transcript import Transcript
from convcache.request import plain

Outlook = Callable[[Transcript], Plan | None]
"""How the next request would be planned for a history, if it can be."""


@attrs.frozen
class Proposal:
    """A change, weighed as of now.

    Attributes:
        change: Makes it.
        when: When it is to be made.
        transcript: The history with it.
        edit: What it costs and saves.
    """

    change: Change
    when: When
    transcript: Transcript
    edit: Edit

    @classmethod
    def of(cls, change: Change, when: When, transcript: Transcript, outlook: Outlook) -> Self:
        """Weigh a change of a history.

        Raises:
            ConversationError: The API would refuse what it gives.
        """
        changed = _changed(change, transcript)
        before, after = outlook(transcript), outlook(changed)
        if before is None or after is None:
            return cls(change, when, changed, Edit(tokens=0, price=None, saving=None))
        return cls(change, when, changed, Edit.between(before, after))

    def is_due(self, *, turns: int, is_cold: bool) -> bool:
        """Whether its time has come: it costs nothing, or will have paid after as many more turns as there were."""
        return self.when == "now" or is_cold or (self.when == "pays" and self.edit.pays(requests=turns))


@attrs.frozen
class Waiting:
    """A change that waits.

    Attributes:
        change: Makes it.
        when: When it is to be made.
        turns: How many turns the conversation must have for it to be worth weighing again, while the cache is warm.
    """

    change: Change
    when: When
    turns: float

    @classmethod
    def of(cls, proposal: Proposal) -> Self:
        """One whose time has not come."""
        edit, when = proposal.edit, proposal.when
        if when == "cold" or edit.price is None or not edit.saving or edit.saving < 0:
            return cls(proposal.change, when, inf)
        return cls(proposal.change, when, float(edit.price / edit.saving))


def check_when(when: object) -> None:
    """A change is made at one of three times.

    Raises:
        ValueError: This is another.
    """
    if when not in get_args(When):
        raise ValueError(f"when is one of {', '.join(map(repr, get_args(When)))}, not {when!r}")


def _changed(change: Change, transcript: Transcript) -> Transcript:
    changed: object = change([deepcopy(unmarked(message)) for message in transcript.sent])
    if not isinstance(changed, (list, tuple)):
        raise TypeError(f"a change gives the list of messages that should be, not {type(changed).__name__}")
    return transcript.edited(plain(changed))
