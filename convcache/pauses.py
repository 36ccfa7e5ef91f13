"""The pauses of a conversation: how it rests in each, what keeps it warm meanwhile, and for how long to write before one.

Whose time it is to be kept warm is in `resting` and in `core.refresh`. Trouble here becomes an event.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from threading import Lock
from typing import Any, Final, Self

import attrs

from convcache.books import Books
from convcache.core.blocks import Ttl
from convcache.core.clock import TTL
from convcache.core.diagnosis import Sent
from convcache.core.events import KeptWarm, Turn, WarmthEnded
from convcache.core.ledger import Ledger
from convcache.core.planner import Plan
from convcache.core.prompt import Prompt
from convcache.core.refresh import LAPSE, Caution, Decision, lifetime
from convcache.core.transcript import Transcript
from convcache.core.usage import Bill, Usage
from convcache.habits import Pause, Track
from convcache.keeper import NOBODY_KEEPS, AsyncKeeper, Keeper
from convcache.pending import Pending, Warming
from convcache.request import Reply, as_sent, without_top_level_mark
from convcache.resting import Rest, can_be_repeated, repeated, speaks

PLACEHOLDER: Final = {"role": "user", "content": [{"type": "text", "text": "."}]}
"""Stands where the user will speak. It is behind the last breakpoint, and nobody answers it."""

_TYPICAL_REPLY: Final = 300
"""Tokens of a reply that has not come yet."""


class Pauses:
    """The pauses of one conversation, one after the other.

    Attributes:
        habits: What its application has shown of its rhythm.
        on_rest: Gives whom to tell that a pause has begun.
    """

    def __init__(self, books: Books, keeper: Keeper | AsyncKeeper | None) -> None:
        self._books, self._keeper = books, keeper
        self.habits = books.scope.habits if keeper is None else keeper.habits
        self.on_rest: Callable[[], Callable[[], None] | None] = _nobody
        self._track, self._backs_off = Track(), False
        self._rest: Rest | None = None
        self._lock = Lock()

    def fork(self) -> Self:
        """Those of a fork. The pause is its parent's: a fork says nothing of when a conversation goes on."""
        fork = object.__new__(type(self))
        fork.__dict__.update(self.__dict__)
        fork._track, fork._rest = attrs.evolve(self._track, pause=None), None
        fork._lock, fork.on_rest = Lock(), _nobody
        return fork

    def begin(self, pending: Pending, reply: Reply | None, *, goes_on: bool) -> None:
        """The conversation rests from now on, or is about to: then its reply still arrives.

        Args:
            pending: Its last turn.
            reply: The reply to it, once that is whole.
            goes_on: Whether its next request will begin with the same prompt, as far as is known.
        """
        if reply is None:
            # It is as good as at work.
            track = attrs.evolve(self._track, pause=Pause("tool_use", pending.started))
        else:
            track = self._track = self.habits.rests(
                self._track, reply.stop_reason, since=pending.started, by_person=speaks(pending.request)
            )
        while_it_arrived, self._rest = self._rest, None
        if goes_on and not self._books.policy.observing:
            self._rest = Rest.of(
                pending.whole,
                pending.plan,
                self._books.scope.warm,
                track,
                started=pending.started,
                reply=None if reply is None or reply.stop_reason == "tool_use" else _tokens_of(reply),
            )
        if while_it_arrived is not None:
            while_it_arrived.is_over = True
            if self._rest is not None:
                self._rest.goes_on_from(while_it_arrived)
        self._tell_keeper()

    def end(self, at: datetime, last: Sent | None) -> Rest | None:
        """The next request has come: how the conversation rested until now."""
        # Once turns follow one another again, the limit is behind.
        self._backs_off = self._backs_off and (last is None or at - last.at >= TTL["5m"])
        rest, self._rest = self._rest, None
        if rest is not None:
            rest.is_over = True
            with self._books.failing_open("keeping"):
                rest.use(self._books.scope.warm, at)
        self._track = self.habits.came(self._track, at)
        return rest

    def go_on(self, rest: Rest | None) -> None:
        """That request came to nothing: it rests as before."""
        if rest is not None and self._rest is None:
            rest.is_over, self._rest = False, rest
            self._tell_keeper()

    def settle(self, rest: Rest | None, plan: Plan | None, bill: Bill, at: datetime) -> None:
        """Whether what was spent on keeping the conversation warm has paid, now that its next request is billed."""
        outcome = None if rest is None else rest.outcome(bill.prompt.read, at)
        if rest is None or outcome is None:
            return
        self._books.tell(outcome)
        if plan is not None and rest.was_held(plan.forecast.read):
            self._learn(rest, bill.prompt.read, at)
        self._give_up(rest)

    def _learn(self, rest: Rest, read: int, at: datetime) -> None:
        """What is read of an upgraded prefix, where all of it was looked for, says whether its hour holds."""
        if rest.upgraded is not None:
            self.habits.used(rest.model, last=rest.used, at=at, held=rest.was_held(read))

    def _give_up(self, rest: Rest) -> None:
        """If it was on trial, it will not tell anything."""
        if rest.upgraded is not None:
            self.habits.gave_up(rest.model, rest.upgraded)

    def give_up(self) -> None:
        """What the conversation holds is of no use any more."""
        rest, self._rest = self._rest, None
        if rest is not None:
            rest.is_over = True
            self._give_up(rest)
            if rest.sent:
                self._books.tell(WarmthEnded(rest.sent, rest.spent, Decimal(0)))

    def decision(self, at: datetime) -> Decision:
        """What to do while the conversation rests, and when."""
        rest, keeper = self._rest, self._keeper
        if rest is None:
            return LAPSE
        caution = Caution() if keeper is None else keeper.caution
        allowance = None if keeper is None else keeper.budget.per_pause
        return rest.decision(self.habits, caution, at, allowance=allowance)

    @contextmanager
    def sending(self) -> Iterator[Rest | None]:
        """How the conversation rests, while something is sent to keep it warm; `None` if it does not rest, or if
        something is on its way already."""
        with self._lock:
            rest = None if self._rest is None or self._rest.is_sending else self._rest
            if rest is not None:
                rest.is_sending = True
        try:
            yield rest
        finally:
            if rest is not None:
                rest.is_sending = False
                if rest.trying is not None:
                    # It failed, or came too late.
                    self.habits.gave_up(rest.model, rest.trying)
                    rest.trying = None

    def warming(
        self, rest: Rest, transcript: Transcript, ledger: Ledger, prompt: Prompt | None, at: datetime
    ) -> Warming | None:
        """The keep-alive or the upgrade that is decided for now; `None` if nothing is worth sending."""
        action = self.decision(at).action
        if action == "lapse":
            return None
        request = repeated(rest.request)
        upgrade = self._upgrade(rest, transcript, ledger, prompt, at) if action == "upgrade" else None
        rest.use(self._books.scope.warm, at)
        if upgrade is not None and self.habits.upgraded(rest.model, at):
            request, plan = upgrade
            rest.trying = at
        else:
            action, plan = "keep_alive", ledger.repeat(rest.plan, self._books.scope.warm, at=at)
        body = without_top_level_mark(plan.marked(request))
        return Warming(rest, action, Pending(request, transcript, at, body=body, plan=plan))

    def _upgrade(
        self, rest: Rest, transcript: Transcript, ledger: Ledger, grown_from: Prompt | None, at: datetime
    ) -> tuple[dict[str, Any], Plan] | None:
        """The conversation with its last reply, to be written for an hour, and a placeholder that nobody reads."""
        sent = transcript.sent
        request = {**repeated(rest.request), "messages": sent.plus([PLACEHOLDER])}
        seen = as_sent(request)
        prompt = None if seen is None else self._books.prompt(seen, ledger, grown_from=grown_from)
        if prompt is None:
            return None
        plan = ledger.upgrade(prompt, len(sent), self._books.scope.warm, at=at)
        return None if plan is None else (request, plan)

    def warmed(self, warming: Warming, usage: Usage, turn: Turn | None) -> None:
        """A keep-alive or an upgrade was answered."""
        rest, pending, is_upgrade = warming.rest, warming.pending, warming.action == "upgrade"
        cost = None if turn is None else turn.costs.paid
        if not rest.is_over:
            self._learn(rest, usage.read, pending.began)
        base = rest.plan.tail
        rest.warmed(usage, cost, pending.began, is_upgrade=is_upgrade)
        if is_upgrade:
            rest.request, rest.plan = pending.request, pending.plan or rest.plan
            rest.base = None if base is None else base.digest
            rest.trying = None if not rest.is_over else rest.trying
        if turn is not None:
            self._books.tell(KeptWarm(warming.action, turn))

    def backs_off(self, retry_after: str, last: Sent | None, at: datetime) -> None:
        """The API is at its limit. Where that lasts for longer than five minutes, what is written for five minutes has
        lapsed when it is over, and is written again, against the same limit: so it is written for an hour."""
        waits = retry_after.isdigit() and timedelta(seconds=int(retry_after)) >= TTL["5m"]
        self._backs_off = waits or (last is not None and last.lapsed(at))

    def lifetime(self, pending: Pending, plan: Plan) -> Ttl | None:
        """How long the tail of a turn should live, of which this is the plan with five minutes. That is left as it is,
        unless the application's own traffic or a keeper tells more."""
        if pending.is_final:
            return None
        if self._backs_off:
            return "1h"
        prices = plan.prompt.model.prices
        if prices is None or not self.habits.is_evident(self._track):
            return "5m"
        keeps = self._keeper is not None and can_be_repeated(pending.request)
        caution = self._keeper.caution if keeps and self._keeper is not None else NOBODY_KEEPS
        with self._books.failing_open("planning"):
            warm, hit = self._books.scope.warm, plan.hit
            held = None if hit is None else warm.warm(hit.digest, pending.started)
            ttl = lifetime(
                plan.forecast.written,
                self.habits.outlooks(
                    self._track, by_person=speaks(pending.request), reply=_TYPICAL_REPLY if keeps else None
                ),
                prices,
                held=plan.forecast.read,
                held_ttl=held.ttl if held else "5m",
                caution=caution,
            )
            above_five = held is not None and held.ttl == "5m"
            # An hour above what lives five minutes is the same undocumented hope as an upgrade.
            return (
                "5m"
                if ttl == "1h" and above_five and not self.habits.holds(str(plan.prompt.fields["model"]))
                else ttl
            )
        return "5m"

    def _tell_keeper(self) -> None:
        tell = self.on_rest()
        if tell is not None:
            tell()


def _nobody() -> None:
    """Nobody is told."""


def _tokens_of(reply: Reply) -> int:
    return int(reply.usage.get("output_tokens") or 0)
