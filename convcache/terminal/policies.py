"""The policies that traffic is played under: the fixed ones, and convcache's own.

Knows the names of policies. What the adaptive one decides is `core.rhythm` and `core.refresh`; here it is only fed.
"""

from bisect import bisect_right
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

import attrs

from convcache.core.blocks import Ttl
from convcache.core.catalog import Prices
from convcache.core.refresh import Action, Caution, Idle, Outlook, decide, lifetime
from convcache.core.rhythm import EDGES, Moment, Rhythm, moment
from convcache.terminal.play import MARGIN, Chat
from convcache.terminal.traffic import Request


@attrs.frozen
class Fixed:
    """The same for every conversation: a TTL, or none, and a number of keep-alives in every pause."""

    name: str
    ttl: Ttl | None
    keep_alives: int = 0
    learns: bool = False

    def lifetime(self, chat: Chat, request: Request, prices: Prices) -> Ttl | None:
        return self.ttl

    def at_deadline(self, chat: Chat, prices: Prices, at: datetime) -> Action:
        return "keep_alive" if len(chat.sent) < self.keep_alives else "lapse"

    def came(self, chat: Chat, request: Request, read: int) -> None:
        pass

    def still_idle(self, chat: Chat, at: datetime) -> datetime | None:
        return None


@attrs.define
class Adaptive:
    """convcache's own: learns from what has happened so far, and from nothing else."""

    name: str
    rhythm: Rhythm
    caution: Caution = Caution(margin=MARGIN)
    learns: bool = True
    _own: dict[int, Rhythm] = attrs.field(factory=dict)
    _told: dict[int, timedelta] = attrs.field(factory=dict)
    _replies: dict[bool, list[float]] = attrs.field(factory=lambda: {True: [1.0, 1.0], False: [1.0, 1.0]})

    def lifetime(self, chat: Chat, request: Request, prices: Prices) -> Ttl | None:
        held = chat.held(request.at)
        tokens = held.step.tokens if held is not None else 0
        hands_over, works = self._replies[request.by_person]
        share = works / (works + hands_over)
        hand_overs = chat.hand_overs + (chat.place >= 0 and chat.last.stop_reason != "tool_use")
        outlooks = [
            Outlook(chance=share, gaps=self._gaps(chat, "tool_use"), reply=None),
            Outlook(chance=1 - share, gaps=self._gaps(chat, moment("end_turn", hand_overs)), reply=300),
        ]
        return lifetime(
            request.prompt - tokens,
            outlooks,
            prices,
            held=tokens,
            held_ttl=held.ttl if held is not None else "5m",
            caution=self.caution,
        )

    def at_deadline(self, chat: Chat, prices: Prices, at: datetime) -> Action:
        assert chat.tail is not None
        last = chat.last
        idle = Idle(
            since=last.at,
            tokens=chat.tail.step.tokens,
            ttl=chat.tail.ttl,
            expires=chat.tail.expires,
            reply=last.reply if last.stop_reason != "tool_use" and last.replied <= at else None,
            hour_tokens=chat.hour.step.tokens if chat.hour is not None else 0,
            hour_expires=chat.hour.expires if chat.hour is not None else None,
        )
        gaps = self._gaps(chat, self._moment(chat))
        return decide(idle, gaps, prices, at=at, caution=self.caution).action

    def came(self, chat: Chat, request: Request, read: int) -> None:
        self._replies[request.by_person][request.stop_reason == "tool_use"] += 1
        if chat.place < 0:
            return
        what, gap = self._moment(chat), request.at - chat.last.at
        self.rhythm = self.rhythm.after(what, gap, since=self._told.pop(chat.number, timedelta(0)))
        self._own[chat.number] = self._own.get(chat.number, Rhythm(prior={})).after(what, gap)

    def still_idle(self, chat: Chat, at: datetime) -> datetime | None:
        idle, before = at - chat.last.at, self._told.get(chat.number, timedelta(0))
        if idle > before:
            self.rhythm = self.rhythm.after(self._moment(chat), idle, returned=False, since=before)
        self._told[chat.number] = idle
        later = bisect_right(EDGES, idle.total_seconds())
        return chat.last.at + timedelta(seconds=EDGES[later]) if later < len(EDGES) else None

    def _moment(self, chat: Chat) -> Moment:
        return moment(chat.last.stop_reason, chat.hand_overs)

    def _gaps(self, chat: Chat, what: Moment) -> Any:
        return self.rhythm.gaps(what, self._own.get(chat.number))
