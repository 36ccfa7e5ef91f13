"""When the next request will come: how long conversations stay idle, given what just happened.

A survival table: for each *moment* and each log-spaced bin of idle time, how many conversations were still idle when
the bin began and how many of them went on within it. A conversation that never goes on adds to the first number
only, so the chance that there is no next request at all needs no special case. Knows nothing of caches or money.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import lru_cache
from itertools import accumulate, pairwise
from math import log
from operator import mul
from typing import Any, Final, Literal, Self

import attrs

from convcache.core.priors import hazards
from convcache.core.proof import Proof

Moment = Literal["tool_use", "pause_turn", "opener", "early", "settled", "ended"]
"""What just happened.

`tool_use`: the model waits for results. `pause_turn`: the server waits to be asked to go on. `opener`: the first reply
that hands over to a person. `early`: the second to the fourth. `settled`: a later one. `ended`: a refusal, or a reply
that was cut off by a limit.
"""

EDGES: Final[tuple[float, ...]] = tuple(float(round(30 * 2 ** (n / 2))) for n in range(24))
"""Where bins end, in seconds: 30 s to 24 h, each a factor of the square root of two after the one before, in whole seconds. The first
bin starts at 0. Whoever is idle for longer than the last edge counts as gone."""

_BINS: Final = len(EDGES)
_HALF: Final = 0.5
"""What a bin counts for someone who is known to have been idle in a part of it only, as in a life table."""
_STARTS: Final = (0.0, *EDGES[:-1])
_WIDTHS: Final = (1.0, *(log(end / start) for start, end in pairwise(EDGES)))
_EARLY_HAND_OVERS: Final = 4

PRIOR_WEIGHT: Final = 20.0
"""How many gaps an application has to show in a bin until they weigh as much as the prior."""

ENOUGH: Final = 20
"""How many gaps an application has to show before tails are written otherwise than for five minutes."""

PACE_WEIGHT: Final = 10.0
"""How many returns the prior has to foresee until its pace is corrected by half of what is seen."""

OWN_WEIGHT: Final = 8.0
"""How many gaps of its own a conversation has to show until they weigh as much as everybody's."""


def moment(stop_reason: str, hand_overs: int) -> Moment:
    """What a reply means for the next request.

    Args:
        stop_reason: Why the reply ended, by the API's names.
        hand_overs: How many replies of the conversation handed over to a person before this one.
    """
    match stop_reason:
        case "tool_use" | "pause_turn":
            return stop_reason
        case "end_turn" | "stop_sequence":
            return "opener" if hand_overs == 0 else "early" if hand_overs < _EARLY_HAND_OVERS else "settled"
        case _:
            return "ended"


@attrs.frozen
class Tally:
    """What was seen after one moment, by bin.

    Attributes:
        idle: How many were idle when the bin began; half of those of whom it is not known when it ended.
        came: How many of these went on within it.
    """

    idle: tuple[float, ...] = (0.0,) * _BINS
    came: tuple[float, ...] = (0.0,) * _BINS

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            tuple(map(float.__add__, self.idle, other.idle)), tuple(map(float.__add__, self.came, other.came))
        )

    def times(self, factor: float) -> "Tally":
        """All counts multiplied."""
        return Tally(tuple(n * factor for n in self.idle), tuple(n * factor for n in self.came))

    def after(self, gap: float, since: float, *, returned: bool) -> "Tally":
        """With one more gap, of which the part up to `since` has been counted already. In seconds."""
        first, last = bisect_right(EDGES, since), bisect_right(EDGES, gap)
        if first == _BINS:
            return self
        returned = returned and last < _BINS
        idle, came = list(self.idle), list(self.came)
        for place in range(first, min(last + 1, _BINS)):
            idle[place] += 1.0
        if since > 0.0:
            idle[first] -= _HALF
        if returned:
            came[last] += 1.0
        elif last < _BINS:
            idle[last] -= _HALF
        return Tally(tuple(idle), tuple(came))


_NONE: Final = Tally()
_NEVER: Final = (0.0,) * _BINS


@lru_cache(1024)
def _where(seconds: float) -> tuple[int, float]:
    """The bin that a time is in, and which part of it has passed by then. Deadlines are at the same few times."""
    place = bisect_right(EDGES, seconds)
    if place in {0, _BINS}:
        return place, seconds / EDGES[0]
    return place, log(seconds / _STARTS[place]) / _WIDTHS[place]


@attrs.frozen
class Gaps:
    """How long a conversation stays idle, as a distribution.

    Attributes:
        survival: Its chance to be still idle when each bin ends.
    """

    survival: tuple[float, ...]

    def outlast(self, seconds: float) -> float:
        """The chance of being idle for longer than this."""
        place, part = _where(seconds)
        if place >= _BINS:
            return self.survival[-1]
        before = self.survival[place - 1] if place else 1.0
        after = self.survival[place]
        if before <= 0.0 or after >= before:
            return after
        return float(before * (after / before) ** part)

    @property
    def gone(self) -> float:
        """The chance that there is no next request within a day, which stands for: ever."""
        return self.survival[-1]


@attrs.frozen(kw_only=True)
class Rhythm:
    """What has been learned of the gaps between requests: of an application, or of one conversation.

    A value: `after` gives a new one. `gaps` answers; it blends what was learned with a prior and, for a
    conversation, with what the conversation itself has shown.

    Attributes:
        tallies: What was seen, by moment.
        prior: What is believed before anything is seen: by moment, the chance of each bin to end the gap.
        proofs: By model, whether an upgrade to an hour was seen to hold.

    Example:
        >>> rhythm = Rhythm().after("tool_use", timedelta(seconds=9))
        >>> rhythm.gaps("tool_use").outlast(300) < 0.1
        True
    """

    tallies: Mapping[Moment, Tally] = attrs.field(factory=dict)
    prior: Mapping[str, tuple[float, ...]] = attrs.field(factory=hazards)
    proofs: Mapping[str, Proof] = attrs.field(factory=dict)

    def after(
        self, moment: Moment, gap: timedelta, *, returned: bool = True, since: timedelta = timedelta(0)
    ) -> Self:
        """The rhythm with one more gap.

        Args:
            moment: What happened before it.
            gap: From the start of the one request to the start of the next, or to now.
            returned: Whether the next request came. If not, the gap is known to be at least this long.
            since: How much of the same gap was told before as not returned.
        """
        tally = self.tallies.get(moment, _NONE)
        told = tally.after(gap.total_seconds(), since.total_seconds(), returned=returned)
        return type(self)(tallies={**self.tallies, moment: told}, prior=self.prior, proofs=self.proofs)

    def gaps(self, moment: Moment, *closer: "Rhythm") -> Gaps:
        """The distribution of the gap that follows a moment.

        Args:
            moment: What just happened.
            closer: What was seen closer to the conversation in question, the conversation itself last. Each of them
                is blended in with what is believed without it; their priors do not count.
        """
        seen, prior = self.tallies.get(moment, _NONE), self.prior.get(moment, _NEVER)
        hazards = _blended(seen, prior, PRIOR_WEIGHT, PRIOR_WEIGHT * _pace(seen, prior))
        for rhythm in closer:
            if moment in rhythm.tallies:
                hazards = _blended(rhythm.tallies[moment], hazards, OWN_WEIGHT, OWN_WEIGHT)
        return Gaps(tuple(accumulate([1.0 - hazard for hazard in hazards], mul)))

    def knows(self, moment: Moment) -> bool:
        """Whether enough gaps after a moment were seen to rely on more than the prior."""
        return self.tallies.get(moment, _NONE).idle[0] >= ENOUGH

    def proof(self, model: str) -> Proof:
        """Whether an upgrade to an hour was seen to hold for a model."""
        return self.proofs.get(model, Proof())

    def with_proof(self, model: str, proof: Proof) -> Self:
        """The rhythm with what is known of a model's upgrades since."""
        return attrs.evolve(self, proofs={**self.proofs, model: proof})

    def merged(self, other: "Rhythm") -> Self:
        """Both together; the prior counts once, and is this one's."""
        moments = {**self.tallies, **other.tallies}
        sums = {
            moment: self.tallies.get(moment, _NONE) + other.tallies.get(moment, _NONE) for moment in moments
        }
        models = {**self.proofs, **other.proofs}
        proofs = {model: self.proof(model) + other.proof(model) for model in models}
        return attrs.evolve(self, tallies=sums, proofs=proofs)

    def saved(self) -> dict[str, Any]:
        """What was learned, as a JSON value; the prior is not part of it, nor is an outcome that is awaited."""
        return {
            "edges": list(EDGES),
            "proofs": {
                model: {"held": proof.held, "lost": proof.lost} for model, proof in self.proofs.items()
            },
            "tallies": {
                moment: {"idle": list(tally.idle), "came": list(tally.came)}
                for moment, tally in self.tallies.items()
            },
        }

    @classmethod
    def loaded(cls, saved: Mapping[str, Any]) -> Self:
        """What `saved` gave, as a rhythm again.

        Raises:
            ValueError: It was saved with other bins, so its numbers mean something else.
        """
        if saved["edges"] != list(EDGES):
            raise ValueError("this rhythm was saved with other bins of idle time; start a new one")
        return cls(
            tallies={
                moment: Tally(tuple(map(float, tally["idle"])), tuple(map(float, tally["came"])))
                for moment, tally in saved["tallies"].items()
            },
            proofs={
                model: Proof(held=int(seen["held"]), lost=int(seen["lost"]))
                for model, seen in saved.get("proofs", {}).items()
            },
        )


def _blended(seen: Tally, believed: Iterable[float], weight: float, came: float) -> list[float]:
    """The chance of each bin to end a gap, after some were seen. What is believed weighs as much as so many gaps, and
    ends as so many would."""
    bins = zip(seen.came, seen.idle, believed, strict=True)
    return [(ended + came * chance) / (idle + weight) for ended, idle, chance in bins]


def _pace(seen: Tally, prior: tuple[float, ...]) -> float:
    """How many have come of those whom the prior foresaw: who comes back seldom in the first minutes does so later on,
    too. Those who come back fast say nothing of those who do not, so it is never more than all."""
    foreseen: float = sum(map(mul, seen.idle, prior))
    return min(1.0, (sum(seen.came) + PACE_WEIGHT) / (foreseen + PACE_WEIGHT))
