"""The policies that traffic is played under: the fixed ones, and convcache's own.

Knows the names of policies. What the adaptive one decides is `core.rhythm` and `core.refresh`; here it is only fed.
"""

from bisect import bisect_right
from collections import defaultdict
from datetime import datetime, timedelta
from typing import Final

import attrs

from convcache.core.blocks import Ttl
from convcache.core.catalog import Prices
from convcache.core.clock import TTL
from convcache.core.proof import TELLS_AFTER, Proof, tells
from convcache.core.refresh import Account, Action, Caution, Idle, Outlook, decide, lifetime
from convcache.core.rhythm import EDGES, Gaps, Moment, Rhythm, moment
from convcache.emulator.cache import Bill
from convcache.terminal.play import MARGIN, Chat, Rates
from convcache.terminal.traffic import Request

_MILLION: Final = 1_000_000
_TYPICAL_REPLY: Final = 300
"""Tokens of a reply that is still to be written."""


@attrs.frozen
class Fixed:
    """The same for every conversation: a TTL, or none, and a number of keep-alives in every pause."""

    ttl: Ttl | None
    keep_alives: int = 0

    def lifetime(self, chat: Chat, request: Request, prices: Prices) -> Ttl | None:
        return self.ttl

    def deadline(self, chat: Chat) -> datetime | None:
        return chat.deadline

    def at_deadline(self, chat: Chat, prices: Prices, at: datetime) -> Action:
        return "keep_alive" if len(chat.sent) < self.keep_alives else "lapse"

    def sent(self, chat: Chat, action: Action, bill: Bill, at: datetime) -> None:
        pass

    def came(self, chat: Chat, request: Request, bill: Bill, rated: Rates) -> None:
        pass

    def still_idle(self, chat: Chat, at: datetime) -> datetime | None:
        return None


@attrs.define
class Application:
    """What was learned of one repository."""

    rhythm: Rhythm = attrs.field(factory=lambda: Rhythm(prior={}))
    account: Account = attrs.field(factory=Account)

    def affords(self, cost: float, saving: float = 0.0) -> bool:
        """Whether that much may be spent; if so, it is."""
        if not self.account.affords(cost, saving):
            return False
        self.spend(cost)
        return True

    def spend(self, cost: float) -> None:
        """So much is spent."""
        self.account = attrs.evolve(self.account, spent=self.account.spent + cost)

    def came(self, request: Request, gap: timedelta | None, bill: Bill, rated: Rates) -> None:
        outlived = gap is not None and gap >= TTL["5m"]
        saved = bill.read * (rated.write_5m - rated.read) if outlived else 0.0
        before = self.account
        self.account = attrs.evolve(before, paid=before.paid + rated.cost(bill), saved=before.saved + saved)


@attrs.define
class Adaptive:
    """convcache's own: learns from what has happened so far, and from nothing else.

    A repository stands for an application: it has an account of its own, and its rhythm is blended with that of all.
    """

    rhythm: Rhythm
    caution: Caution = attrs.field(factory=lambda: Caution(margin=MARGIN))
    proof: Proof = attrs.field(factory=Proof)
    _applications: defaultdict[str, Application] = attrs.field(factory=lambda: defaultdict(Application))
    _own: defaultdict[int, Rhythm] = attrs.field(factory=lambda: defaultdict(lambda: Rhythm(prior={})))
    _upgraded: dict[int, datetime] = attrs.field(factory=dict)
    _told: defaultdict[int, timedelta] = attrs.field(factory=lambda: defaultdict(timedelta))
    _replies: dict[bool, list[int]] = attrs.field(factory=lambda: {True: [1, 1], False: [1, 1]})

    def lifetime(self, chat: Chat, request: Request, prices: Prices) -> Ttl | None:
        hand_overs = chat.hand_overs + (chat.place >= 0 and chat.last.stop_reason != "tool_use")
        over = moment("end_turn", hand_overs)
        if not self._is_evident(chat, over):
            return "5m"
        held = chat.held(request.at)
        tokens = held.step.tokens if held is not None else 0
        hands_over, works = self._replies[request.by_person]
        share = works / (works + hands_over)
        asked = attrs.evolve(chat, place=chat.place + 1)
        outlooks = [
            Outlook(chance=share, gaps=self._gaps(asked, "tool_use"), reply=None),
            Outlook(chance=1 - share, gaps=self._gaps(asked, over), reply=_TYPICAL_REPLY),
        ]
        ttl = lifetime(
            request.prompt - tokens,
            outlooks,
            prices,
            held=tokens,
            held_ttl=held.ttl if held is not None else "5m",
            caution=self._cautious(allowed=self.proof.holds),
        )
        if ttl == "1h":
            premium = float(prices.write_1h - prices.write_5m) / _MILLION * (request.prompt - tokens)
            return ttl if self._applications[chat.recorded.repository].affords(premium) else "5m"
        return ttl

    def deadline(self, chat: Chat) -> datetime | None:
        if chat.tail is None or not self._is_on_trial(chat):
            return chat.deadline
        return chat.tail.expires - TTL["1h"] + TELLS_AFTER

    def at_deadline(self, chat: Chat, prices: Prices, at: datetime) -> Action:
        if chat.tail is None:
            return "lapse"
        last = chat.last
        idle = Idle(
            since=last.at,
            tokens=chat.tail.step.tokens,
            ttl=chat.tail.ttl,
            expires=chat.tail.expires,
            reply=last.reply if last.stop_reason != "tool_use" and last.replied <= at else None,
            hour_tokens=chat.hour.step.tokens if chat.hour is not None else 0,
            hour_expires=chat.hour.expires if chat.hour is not None else None,
            is_on_trial=self._is_on_trial(chat),
        )
        caution = self._cautious(allowed=self.proof.allows(at))
        decision = decide(idle, self._gaps(chat, self._moment(chat)), prices, at=at, caution=caution)
        application = self._applications[chat.recorded.repository]
        if idle.is_on_trial:
            application.spend(float(decision.cost))
        elif not application.affords(float(decision.cost), float(decision.saving)):
            return "lapse"
        return decision.action

    def sent(self, chat: Chat, action: Action, bill: Bill, at: datetime) -> None:
        if action == "keep_alive":
            self._used(chat, bill, at)
        elif chat.tail is not None and bill.read >= chat.tail.step.tokens:
            self.proof = self.proof.on_trial(at)
            self._upgraded[chat.number] = at

    def came(self, chat: Chat, request: Request, bill: Bill, rated: Rates) -> None:
        gap = request.at - chat.last.at if chat.place >= 0 else None
        self._replies[request.by_person][request.stop_reason == "tool_use"] += 1
        self._applications[chat.recorded.repository].came(request, gap, bill, rated)
        if gap is None:
            return
        self._used(chat, bill, request.at)
        self._own[chat.number] = self._own[chat.number].after(self._moment(chat), gap)
        self._learn(chat, gap, self._told.pop(chat.number, timedelta(0)), returned=True)

    def still_idle(self, chat: Chat, at: datetime) -> datetime | None:
        idle = at - chat.last.at
        if idle > self._told[chat.number]:
            self._learn(chat, idle, self._told[chat.number], returned=False)
        self._told[chat.number] = idle
        later = bisect_right(EDGES, idle.total_seconds())
        return chat.last.at + timedelta(seconds=EDGES[later]) if later < len(EDGES) else None

    def _used(self, chat: Chat, bill: Bill, at: datetime) -> None:
        """What was upgraded was used, or should have been."""
        hour = chat.hour if chat.number in self._upgraded else None
        if hour is not None and tells(hour.expires - TTL["1h"], at):
            held = bill.read >= hour.step.tokens
            self.proof = self.proof.seen(held=held)
            if not held:
                # What is written in its place is written for an hour from its beginning.
                del self._upgraded[chat.number]
        elif self._is_on_trial(chat):
            self.proof = self.proof.told_nothing()

    def _is_on_trial(self, chat: Chat) -> bool:
        return self.proof.tried is not None and self.proof.tried == self._upgraded.get(chat.number)

    def _learn(self, chat: Chat, gap: timedelta, since: timedelta, *, returned: bool) -> None:
        what, application = self._moment(chat), self._applications[chat.recorded.repository]
        self.rhythm = self.rhythm.after(what, gap, since=since, returned=returned)
        application.rhythm = application.rhythm.after(what, gap, since=since, returned=returned)

    def _is_evident(self, chat: Chat, over: Moment) -> bool:
        """Whether enough was seen to write otherwise than for five minutes."""
        return self._applications[chat.recorded.repository].rhythm.knows(over)

    def _gaps(self, chat: Chat, what: Moment) -> Gaps:
        """When the request after its last one comes."""
        application = self._applications[chat.recorded.repository]
        return self.rhythm.gaps(what, application.rhythm, self._own[chat.number])

    def _moment(self, chat: Chat) -> Moment:
        return moment(chat.last.stop_reason, chat.hand_overs)

    def _cautious(self, *, allowed: bool) -> Caution:
        return attrs.evolve(self.caution, upgrades=self.caution.upgrades and allowed)
