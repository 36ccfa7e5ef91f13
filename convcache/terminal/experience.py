"""The policy of someone who has seen all the other conversations of a trace beforehand, and nothing of this one's future.

What it costs more than foresight is what nobody could know; what `adaptive` costs more than it is the price of
learning on the way. Knows how gaps are counted; decides as `Adaptive` does.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from math import inf
from statistics import quantiles
from typing import Final, TypeAlias

import attrs

from convcache.core.proof import Proof
from convcache.core.refresh import Account, Caution
from convcache.core.rhythm import Gaps, Moment, Rhythm, Tally, moment
from convcache.terminal.play import MARGIN, Chat
from convcache.terminal.policies import Adaptive, Application
from convcache.terminal.traffic import Corpus, Recorded, Request

_NEVER: Final = timedelta(days=2)
"""Longer than all bins together: the gap of who did not come back."""
_CLASSES: Final = 4

_Case: TypeAlias = tuple[Moment, int | None]
"""What had happened, and the class of how much was new in the request before; `None` for all of them."""


@attrs.frozen
class Experience:
    """All gaps of a corpus, by case.

    Attributes:
        bounds: By moment, the tokens of what was new in a request that part the classes.
        seen: By case.
        own: The same of each conversation alone.
    """

    bounds: Mapping[Moment, list[float]]
    seen: Mapping[_Case, Tally]
    own: Sequence[Mapping[_Case, Tally]]

    @classmethod
    def of(cls, corpus: Corpus) -> "Experience":
        """All of a corpus."""
        gaps = [list(_gaps(recorded)) for recorded in corpus.conversations]
        sizes: defaultdict[Moment, list[int]] = defaultdict(list)
        for what, new, _ in (gap for each in gaps for gap in each):
            sizes[what].append(new)
        bounds = {what: quantiles(new, n=_CLASSES) for what, new in sizes.items() if len(new) > 1}
        seen: defaultdict[_Case, Tally] = defaultdict(Tally)
        own: list[defaultdict[_Case, Tally]] = [defaultdict(Tally) for _ in gaps]
        for number, each in enumerate(gaps):
            for what, new, gap in each:
                seconds = (gap or _NEVER).total_seconds()
                cases: list[_Case] = [(what, None), (what, bisect_right(bounds.get(what, ()), new))]
                for case in cases:
                    own[number][case] = own[number][case].after(seconds, 0.0, returned=gap is not None)
            for case, tally in own[number].items():
                seen[case] += tally
        return cls(bounds, seen, own)

    def others(self, number: int, what: Moment, new: int) -> tuple[Rhythm, Rhythm]:
        """What all but one conversation showed after a moment: in every case, and after so much that was new."""
        kind = bisect_right(self.bounds.get(what, ()), new)
        everything, alike = (
            self.seen.get(case, Tally()) + self.own[number].get(case, Tally()).times(-1.0)
            for case in ((what, None), (what, kind))
        )
        return Rhythm(tallies={what: everything}), Rhythm(tallies={what: alike})


def _gaps(recorded: Recorded) -> Iterator[tuple[Moment, int, timedelta | None]]:
    """After each request: what had happened, how much was new in it, and how long until the next one."""
    hand_overs = 0
    followers: list[Request | None] = [*recorded.requests[1:], None]
    for request, follower in zip(recorded.requests, followers, strict=True):
        gap = None if follower is None else follower.at - request.at
        yield moment(request.stop_reason, hand_overs), request.prompt - request.shared, gap
        hand_overs += request.stop_reason != "tool_use"


@attrs.define
class Experienced(Adaptive):
    """Adaptive, with nothing left to learn and nothing to prove."""

    experience: Experience = attrs.field(kw_only=True)
    _known: dict[tuple[int, Moment, int], Gaps] = attrs.field(factory=dict)

    @classmethod
    def of(cls, corpus: Corpus, *, upgrades: bool) -> "Experienced":
        """One that knows a corpus, and whether an upgrade holds for its hour."""
        caution = Caution(margin=MARGIN, min_gain=0.0, upgrades=upgrades)
        policy = cls(Rhythm(), caution, Proof(held=1), experience=Experience.of(corpus))
        policy._applications = defaultdict(lambda: Application(account=Account(saved=inf)))
        return policy

    def _is_evident(self, chat: Chat, over: Moment) -> bool:
        return True

    def _gaps(self, chat: Chat, what: Moment) -> Gaps:
        key = chat.number, what, chat.last.prompt - chat.last.shared
        if key not in self._known:
            everything, alike = self.experience.others(*key)
            self._known[key] = everything.gaps(what, alike)
        return self._known[key]
