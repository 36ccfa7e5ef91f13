"""The rhythm of an application, learned as it happens; and whether an upgrade to an hour was seen to hold.

Safe to share between threads and conversations. Knows moments and gaps; no requests and no money.
"""

from bisect import bisect_right
from datetime import datetime, timedelta
from heapq import heappop, heappush
from itertools import count
from threading import Lock
from typing import Final

import attrs

from convcache.core.proof import tells
from convcache.core.refresh import Outlook
from convcache.core.rhythm import EDGES, Gaps, Moment, Rhythm, moment

_FIRST_EDGE: Final = timedelta(seconds=EDGES[0])

_SWEPT: Final = 20
"""Pauses looked at each time a request comes: more than begin with it, so that none is forgotten."""


@attrs.define(eq=False)
class Pause:
    """The time since a request, until the next one comes.

    Attributes:
        moment: What its reply said.
        since: When it started.
        told: How much of the pause the rhythm knows of.
        is_over: Whether the next request came.
    """

    moment: Moment
    since: datetime
    told: timedelta = timedelta(0)
    is_over: bool = False


@attrs.frozen(kw_only=True)
class Track:
    """What a conversation has shown of its own rhythm.

    Attributes:
        own: The gaps it has had.
        hand_overs: How many of its replies handed over to a person.
        pause: The one it is in.
    """

    own: Rhythm = attrs.field(factory=lambda: Rhythm(prior={}))
    hand_overs: int = 0
    pause: Pause | None = None


class Habits:
    """What the conversations of an application have shown."""

    def __init__(self, rhythm: Rhythm | None = None) -> None:
        """Start with what is known.

        Args:
            rhythm: As it was saved; without it, what is known of others' conversations.
        """
        self._rhythm = rhythm or Rhythm()
        self._replies = {True: [1.0, 1.0], False: [1.0, 1.0]}
        self._open: list[tuple[datetime, int, Pause]] = []
        self._order = count()
        self._lock = Lock()

    @property
    def rhythm(self) -> Rhythm:
        """What was learned until now: a value to save, and to give to another application."""
        return self._rhythm

    def came(self, track: Track, at: datetime) -> Track:
        """The next request of a conversation has come."""
        with self._lock:
            self._sweep(at)
            pause = track.pause
            if pause is None or pause.is_over:
                return Track(own=track.own, hand_overs=track.hand_overs)
            pause.is_over = True
            gap = at - pause.since
            self._rhythm = self._rhythm.after(pause.moment, gap, since=pause.told)
            return Track(own=track.own.after(pause.moment, gap), hand_overs=track.hand_overs)

    def rests(self, track: Track, stop_reason: str | None, *, since: datetime, by_person: bool) -> Track:
        """The reply to its request has come, and it waits for the next one."""
        now = moment(stop_reason or "", track.hand_overs)
        works = now in {"tool_use", "pause_turn"}
        pause = Pause(now, since)
        with self._lock:
            self._replies[by_person][works] += 1
            heappush(self._open, (since + _FIRST_EDGE, next(self._order), pause))
        return Track(own=track.own, hand_overs=track.hand_overs + (not works), pause=pause)

    def _sweep(self, at: datetime) -> None:
        """Tell the rhythm of those who are still idle, as far as that is new."""
        for _ in range(_SWEPT):
            if not self._open or self._open[0][0] > at:
                return
            when, _, pause = heappop(self._open)
            if pause.is_over:
                continue
            idle = when - pause.since
            self._rhythm = self._rhythm.after(pause.moment, idle, returned=False, since=pause.told)
            pause.told = idle
            later = bisect_right(EDGES, idle.total_seconds())
            if later < len(EDGES):
                due = pause.since + timedelta(seconds=EDGES[later])
                heappush(self._open, (due, next(self._order), pause))

    def gaps(self, what: Moment, own: Rhythm) -> Gaps:
        """When the next request may come after a moment."""
        return self._rhythm.gaps(what, own)

    def outlooks(self, track: Track, *, by_person: bool, reply: int | None) -> tuple[Outlook, Outlook]:
        """How the reply to a request that is about to be sent may turn out.

        Args:
            track: Its conversation's.
            by_person: Whether a person speaks in it, or only tools.
            reply: Tokens that an upgrade would write, if one is possible.
        """
        hands_over, works = self._replies[by_person]
        share = works / (works + hands_over)
        after_reply = self.gaps(moment("end_turn", track.hand_overs), track.own)
        return (
            Outlook(chance=share, gaps=self.gaps("tool_use", track.own), reply=None),
            Outlook(chance=1 - share, gaps=after_reply, reply=reply),
        )

    def is_evident(self, track: Track) -> bool:
        """Whether enough was seen of the application to choose lifetimes by it."""
        return self._rhythm.knows(moment("end_turn", track.hand_overs))

    def may_upgrade(self, model: str, at: datetime) -> bool:
        """Whether an upgrade to an hour may be sent for a model: freely once one was seen to hold, one at a time until
        then, and not any more once too many did not."""
        return self._rhythm.proof(model).allows(at)

    def holds(self, model: str) -> bool:
        """Whether upgrades were seen to hold for a model."""
        return self._rhythm.proof(model).holds

    def is_on_trial(self, model: str, upgraded: datetime) -> bool:
        """Whether the upgrade that was sent then is the one that is to tell."""
        return self._rhythm.proof(model).tried == upgraded

    def upgraded(self, model: str, at: datetime) -> bool:
        """An upgrade is about to be sent; tells whether it may be, now that all others are known."""
        with self._lock:
            proof = self._rhythm.proof(model)
            if not proof.allows(at):
                return False
            self._rhythm = self._rhythm.with_proof(model, proof.on_trial(at))
            return True

    def gave_up(self, model: str, upgraded: datetime) -> None:
        """The upgrade that was begun then will not tell anything; another one may be tried."""
        with self._lock:
            proof = self._rhythm.proof(model)
            if proof.tried == upgraded:
                self._rhythm = self._rhythm.with_proof(model, proof.told_nothing())

    def used(self, model: str, *, last: datetime, at: datetime, held: bool) -> bool:
        """What was upgraded was used again, by a request or a keep-alive; returns whether that tells.

        Args:
            model: The model.
            last: When it was used last. Too soon after that it says nothing of the hour, and after it nothing either.
            at: Now.
            held: Whether it was still there.
        """
        if not tells(last, at):
            return False
        with self._lock:
            self._rhythm = self._rhythm.with_proof(model, self._rhythm.proof(model).seen(held=held))
        return True
