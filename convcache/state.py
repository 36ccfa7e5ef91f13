"""The part of a conversation that sends nothing, which `Conversation` and `AsyncConversation` share.

Assembles each turn's request and records what its reply changes. Trouble in planning or in the books becomes an
event and never fails a turn; trouble in the history is an error before anything is sent.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from datetime import datetime, timedelta
from decimal import Decimal
from math import inf
from threading import Lock
from typing import Any, Final, Self, get_args

import attrs

from convcache.books import Books, Clock, Head
from convcache.core.blocks import Ttl, unmarked
from convcache.core.catalog import model, platform
from convcache.core.clock import TTL
from convcache.core.edit import Change, Edit, When
from convcache.core.events import HistoryEdited, KeptWarm, Turn, WarmthEnded
from convcache.core.growing import Growing
from convcache.core.planner import Landmarks, Plan
from convcache.core.prompt import Node, Prompt
from convcache.core.refresh import LAPSE, Action, Caution, Decision, lifetime
from convcache.core.transcript import Transcript
from convcache.core.usage import Bill, Costs, Usage
from convcache.errors import InvalidationRefusedError, SystemMessagesRefusedError, TurnInProgressError
from convcache.gate import Gate, Leader
from convcache.habits import Pause, Track
from convcache.keeper import NOBODY_KEEPS, AsyncKeeper, Keeper
from convcache.request import (
    Reply,
    RequestOptions,
    TurnOptions,
    as_sent,
    check_route,
    checked,
    definitions,
    is_given,
    is_runnable,
    needed_betas,
    plain,
    with_betas,
    without_top_level_mark,
)
from convcache.resting import Rest, can_be_repeated, repeated, speaks


@attrs.frozen
class _KeptTurn:
    turn: Turn | None
    tail: Node | None


@attrs.define
class Pending:
    """A turn in flight.

    Attributes:
        request: The request as the conversation's fields and history make it, without our breakpoints.
        transcript: The history that the turn goes on from.
        began: When the turn began.
        started: When its request is sent: later, if it waited for another one.
        body: The arguments of `messages.create`: the request, with the planned breakpoints.
        plan: What was planned, unless planning failed or the plan was refused.
        leader: Its place at the head of those that share a cold prefix, while it has one.
        turn: The booking, once there is one.
        is_final: Whether no other turn will come.
        waited: How long it has waited for others.
        rested: How the conversation rested before it.
        besides: What its request has besides its body, where that is a loop's of somebody else's.
        base: The history of the conversation when such a loop sent it.
    """

    request: dict[str, Any]
    transcript: Transcript
    began: datetime
    started: datetime = attrs.field(default=attrs.Factory(lambda self: self.began, takes_self=True))
    body: dict[str, Any] = attrs.field(default=attrs.Factory(lambda self: self.request, takes_self=True))
    plan: Plan | None = None
    leader: Leader | None = None
    turn: Turn | None = None
    is_final: bool = False
    waited: timedelta = timedelta(0)
    rested: Rest | None = None
    besides: Mapping[str, Any] = attrs.field(factory=dict)
    base: Transcript | None = None


@attrs.frozen
class _Waiting:
    """A change of the history that waits.

    Attributes:
        change: Makes it.
        when: When it is to be made.
        turns: How many turns the conversation must have for it to be worth weighing again, while the cache is warm.
    """

    change: Change
    when: When
    turns: float

    @classmethod
    def of(cls, change: Change, when: When, weighed: Edit) -> "_Waiting":
        if when == "cold" or weighed.price is None or not weighed.saving or weighed.saving < 0:
            return cls(change, when, inf)
        return cls(change, when, float(weighed.price / weighed.saving))


@attrs.frozen
class Warming:
    """A keep-alive or an upgrade on its way.

    Attributes:
        rest: The rest it belongs to.
        action: Which of both.
        pending: Its request.
    """

    rest: Rest
    action: Action
    pending: Pending


_PLACEHOLDER: Final = {"role": "user", "content": [{"type": "text", "text": "."}]}
"""Stands where the user will speak. It is behind the last breakpoint, and nobody answers it."""

_TYPICAL_REPLY: Final = 300
"""Tokens of a reply that has not come yet."""

_OF_NO_KEY: Final = frozenset(
    {"betas", "extra_headers", "max_tokens", "messages", "metadata", "stop_sequences", "stream", "timeout"}
)
"""Arguments that are no part of the cache's key."""


class ConversationState:
    """The history, the request fields and the books of one conversation."""

    def __init__(
        self,
        *,
        books: Books,
        fields: Mapping[str, Any],
        options: Mapping[str, Any],
        messages: Iterable[object],
        clock: Clock,
        keeper: Keeper | AsyncKeeper | None = None,
    ) -> None:
        self._books = books
        self._keeper = keeper
        self._habits = books.scope.habits if keeper is None else keeper.habits
        self._track, self._backs_off = Track(), False
        self._rest: Rest | None = None
        self.on_rest: Callable[[], Callable[[], None] | None] = _nobody
        self._fields = {**checked(fields, TurnOptions), **checked(options, RequestOptions)}
        self._clock = clock
        self._transcript = Transcript.adopting(plain(messages))
        self._betas = needed_betas(self._transcript.messages)
        self._runnable = _by_name(fields["tools"])
        self._kept = Growing[_KeptTurn]()
        self._pins: tuple[Node, ...] = ()
        self._edits: tuple[_Waiting, ...] = ()
        self._parting: int | None = None
        self._gate = Gate()
        self._ledger = books.opened()
        self._prompt: Prompt | None = None
        self._head: Head | None = None
        self._busy, self._booking = Lock(), Lock()

    @property
    def messages(self) -> list[dict[str, Any]]:
        """A copy of the history and of what is staged, without breakpoints."""
        staged = self._transcript.staged.with_asides(takes_system=model(self._fields["model"]).takes_system)
        everything = (*self._transcript.sent, *staged.messages)
        return [deepcopy(unmarked(message)) for message in everything]

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The booked turns of the history."""
        return tuple(kept.turn for kept in self._kept if kept.turn is not None)

    @property
    def usage(self) -> Usage:
        """All tokens billed."""
        return self._ledger.total

    @property
    def costs(self) -> Costs:
        """What they cost."""
        return self._ledger.costs

    def append(self, items: Iterable[object]) -> None:
        """Stage messages or blocks."""
        with self._alone():
            self._transcript = self._transcript.append(*plain(items))

    def update(self, options: Mapping[str, Any]) -> None:
        """Change fields of all later turns."""
        with self._alone():
            self._fields = {**self._fields, **checked(options, TurnOptions)}
            self._runnable = {**self._runnable, **_by_name(options.get("tools") or ())}
            if options.keys() - _OF_NO_KEY:
                self._rest_is_over()

    def note(self, text: str) -> None:
        """Stage a note to the model."""
        with self._alone():
            self._transcript = self._transcript.aside({"type": "text", "text": text})

    def add_tools(self, tools: Sequence[object]) -> None:
        """Give the model more tools from the next turn on."""
        added = definitions(tools)
        self._runnable = {**self._runnable, **_by_name(tools)}
        blocks = [
            {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": tool}}
            for tool in added
        ]
        self._change_tools([*(self._fields.get("tools") or ()), *added], blocks)

    def remove_tools(self, names: Iterable[str]) -> None:
        """Take tools away from the next turn on."""
        gone, tools = list(dict.fromkeys(names)), self._fields.get("tools") or ()
        known = {*(tool.get("name") for tool in tools), *self._transcript.added_tools}
        if unknown := [name for name in gone if name not in known]:
            raise ValueError(f"there is no tool called {', '.join(map(repr, unknown))}")
        blocks = [{"type": "tool_removal", "tool": {"type": "tool_reference", "name": name}} for name in gone]
        self._change_tools([tool for tool in tools if tool.get("name") not in gone], blocks)

    def _change_tools(self, tools: list[dict[str, Any]], blocks: Iterable[dict[str, Any]]) -> None:
        """By blocks in the next message, where the model takes them, so that the cached prompt stays as it is; else by
        another list of tools. Where it has had none in the prompt, the first block would cost as much."""
        with self._alone():
            has_some = any(not tool.get("defer_loading") for tool in self._fields.get("tools") or ())
            if model(self._fields["model"]).takes_system and has_some:
                self._transcript = self._transcript.aside(*blocks)
            else:
                self._fields = {**self._fields, "tools": tools}
                self._rest_is_over()

    def pin(self) -> None:
        """Keep a breakpoint at the end of the last kept turn."""
        with self._alone():
            tail = self._kept[-1].tail if self._kept else None
            if tail is None:
                raise ValueError("there is nothing to pin: no turn was sent yet whose prompt was cached")
            self._pins = (*self._pins, tail)

    def edit(self, change: Change, when: When) -> Edit:
        """Change the history, now or when it costs less."""
        if when not in get_args(When):
            raise ValueError(f"when is one of {', '.join(map(repr, get_args(When)))}, not {when!r}")
        with self._alone():
            transcript = self._edited(change)
            edit = self._weighed(transcript)
            if when == "now" or self._is_time(edit, when):
                return self._make(edit, transcript)
            self._edits = (*self._edits, _Waiting.of(change, when, edit))
            return edit

    def _make_edits(self) -> bool:
        """The changes of the history that were waiting, as far as their time has come; tells whether one was made."""
        before = self._transcript
        waiting, self._edits = self._edits, ()
        for edit in waiting:
            if not self._is_cold() and len(self._kept) < edit.turns:
                self._edits = (*self._edits, edit)
                continue
            with self._books.failing_open("editing"):
                transcript = self._edited(edit.change)
                weighed = self._weighed(transcript)
                if self._is_time(weighed, edit.when):
                    self._make(weighed, transcript)
                else:
                    self._edits = (*self._edits, _Waiting.of(edit.change, edit.when, weighed))
        return self._transcript is not before

    def _edited(self, change: Change) -> Transcript:
        changed: object = change([deepcopy(unmarked(message)) for message in self._transcript.sent])
        if not isinstance(changed, (list, tuple)):
            raise TypeError(
                f"a change gives the list of messages that should be, not {type(changed).__name__}"
            )
        return self._transcript.edited(plain(changed))

    def _weighed(self, transcript: Transcript) -> Edit:
        """What a change costs now: what the next request would cost with it and without."""
        before, after = (self._outlook(version) for version in (self._transcript, transcript))
        return (
            Edit(tokens=0, price=None, saving=None)
            if before is None or after is None
            else Edit.between(before, after)
        )

    def _outlook(self, transcript: Transcript) -> Plan | None:
        request = {**self._fields, "messages": transcript.sent}
        seen = as_sent({name: value for name, value in request.items() if is_given(name, value)})
        prompt = None if seen is None or not transcript.sent else self._books.prompt(seen, self._ledger)
        if prompt is None or seen is None:
            return None
        landmarks = self._landmarks(prompt, transcript)
        return self._books.planned(seen, prompt, self._ledger, at=self._clock(), landmarks=landmarks)

    def _is_time(self, edit: Edit, when: When) -> bool:
        """Whether a change costs nothing, or will have paid after as many more turns as there were."""
        return self._is_cold() or (when == "pays" and edit.pays(requests=len(self._kept)))

    def _is_cold(self) -> bool:
        """Whether nothing of the history is held that a change would lose."""
        tail = next((kept.tail for kept in reversed(self._kept) if kept.tail is not None), None)
        return tail is None or self._books.scope.warm.warm(tail.digest, self._clock()) is None

    def _make(self, edit: Edit, transcript: Transcript) -> Edit:
        if len(transcript.turns) != len(self._kept):
            self._kept = Growing()
        self._transcript, self._prompt, self._parting = transcript, None, None
        self._rest_is_over()
        self._books.tell(HistoryEdited(done := attrs.evolve(edit, done=True)))
        return done

    def rewind(self, turns: int) -> None:
        """Forget the last turns."""
        with self._alone():
            self._transcript = self._transcript.rewound(turns)
            self._rest_is_over()
            self._kept = self._kept.first(len(self._kept) - turns)
            if self._parting is not None and self._parting > len(self._transcript.messages):
                self._parting = None

    def fork(self) -> Self:
        """An independent state that goes on from the kept turns, with books of its own. All it shares is values."""
        if self._transcript.messages:
            self._parting = len(self._transcript.messages)
        fork = object.__new__(type(self))
        fork.__dict__.update(self.__dict__)
        fork._ledger = attrs.evolve(self._ledger, total=Usage(), costs=Costs())
        # The pause is its parent's: a fork says nothing of when a conversation goes on.
        fork._track = attrs.evolve(self._track, pause=None)
        fork._busy, fork._booking = Lock(), Lock()
        fork._rest, fork.on_rest = None, _nobody
        return fork

    @contextmanager
    def turn(
        self, content: object, options: Mapping[str, Any], *, context: object = None, final: bool = False
    ) -> Iterator[Pending]:
        """A turn, from its request to its end. What is not kept in between leaves no trace in the history."""
        with self._alone():
            request = self.request(content, options, context=context)
            if self._make_edits():
                request = self.request(content, options, context=context)
            pending = self._start(request, self._transcript, final=final)
            try:
                yield pending
            finally:
                self._over(pending)

    def _over(self, pending: Pending) -> None:
        """Whatever became of a turn: nobody waits for it, and if it came to nothing, all is as it was."""
        self.let_go(pending)
        rest = pending.rested
        came_to_nothing = pending.turn is None or pending.request.get("max_tokens") == 0
        if came_to_nothing and rest is not None and self._rest is None:
            rest.is_over, self._rest = False, rest
            self._tell_keeper()

    def ahead_of(self, pending: Pending) -> Leader | None:
        """Whom a turn should wait for; nobody, if it goes first, if nobody goes before it, or if it has waited."""
        policy = self._books.policy
        if policy.fan_out == "off" or policy.observing or pending.plan is None:
            return None
        if self.patience(pending) <= timedelta(0):
            return None
        gate = self._books.scope.gate if policy.fan_out == "all" else self._gate
        with self._books.failing_open("planning"):
            ahead, pending.leader = gate.enter(pending.plan, min_saving=policy.min_wait_saving)
            return ahead
        return None

    def patience(self, pending: Pending) -> timedelta:
        """How much longer a turn waits for others."""
        return self._books.policy.max_wait - pending.waited

    def waited(self, pending: Pending, time: timedelta) -> None:
        """After a wait the cache is another. What there is to tell of the request was told before."""
        pending.waited += time
        self._place(pending, self._clock(), is_told=True)

    def begun(self, pending: Pending, bill: Bill | None) -> None:
        """The reply has begun: what was written can be read by others."""
        if pending.plan is not None and bill is not None:
            self._books.begun(pending.plan, self._ledger, bill, at=pending.started)
            self._rests(pending, None)
        self.let_go(pending)

    def let_go(self, pending: Pending) -> None:
        """Nobody has to wait for this turn any more."""
        if pending.leader is not None:
            gate = self._books.scope.gate if self._books.policy.fan_out == "all" else self._gate
            gate.leave(pending.leader)
            pending.leader = None

    def first_of_loop(
        self, content: object, options: Mapping[str, Any], *, context: object = None
    ) -> dict[str, Any]:
        """The request that a loop of somebody else's begins with, which sends the history itself from there on."""
        with self._alone():
            self._make_edits()
            return self.request(content, options, context=context)

    @property
    def transcript(self) -> Transcript:
        """The history."""
        return self._transcript

    def followed(self, request: dict[str, Any], *, besides: Mapping[str, Any], since: Transcript) -> Pending:
        """A turn of such a loop, with what its requests have besides their bodies.

        Raises:
            TurnInProgressError: The conversation has gone on besides the loop, which knows nothing of that.
        """
        with self._alone():
            if self._transcript is not since:
                raise TurnInProgressError
            transcript = self._transcript.followed(request["messages"])
            messages = transcript.sent.plus(transcript.staged.messages)
            pending = self._start({**request, "messages": messages}, transcript)
            pending.besides, pending.base = besides, since
            return pending

    def ended(self, pending: Pending, *, reply: Reply | None = None, bill: Bill | None = None) -> Transcript:
        """The end of such a turn: with its whole reply, or with what it was billed until nobody read on."""
        with self._alone():
            if reply is not None and pending.base is self._transcript:
                self.answered(pending, reply)
            elif reply is not None:
                # The conversation has gone on meanwhile, and that is what is kept. The loop is told when it goes on.
                self.settle(pending, Bill.of(reply.usage), kept=False)
                self._over(pending)
                return pending.transcript
            elif bill is not None:
                self.settle(pending, bill, kept=False)
            self._over(pending)
            return self._transcript

    def runnable_tools(self, request: Mapping[str, Any]) -> list[Any]:
        """The tools of a request and those that came in by the way, as what the SDK can run where it can."""
        tools = request.get("tools") or ()
        added = [self._runnable[name] for name in self._transcript.added_tools if name in self._runnable]
        return [*(self._runnable.get(tool.get("name"), tool) for tool in tools), *added]

    def limited(self, headers: Mapping[str, str]) -> None:
        """The API is at its limit. Where that lasts for longer than five minutes, what is written for five minutes has
        lapsed when it is over, and is written again, against the same limit: so it is written for an hour."""
        self._books.limits_told(headers)
        if self._keeper is not None:
            self._keeper.yield_to_others(headers)
        last, after = self._ledger.last, headers.get("retry-after", "")
        waits = after.isdigit() and timedelta(seconds=int(after)) >= TTL["5m"]
        self._backs_off = waits or (last is not None and last.lapsed(self._clock()))

    def limits_told(self, headers: Mapping[str, str]) -> None:
        """What a reply says of the API's limit."""
        self._books.limits_told(headers)

    def recovers_from(self, pending: Pending, message: str) -> bool:
        """Whether the request is worth sending again as its caller wrote it: our breakpoints may be refused."""
        if pending.body is pending.request or not self._books.is_about_us(message):
            return False
        pending.plan, pending.body = None, pending.request
        return True

    def refused(self, pending: Pending, message: str) -> None:
        """Our breakpoints were refused: the request went through without them."""
        self._books.refused(pending.request, message)

    def answered(self, pending: Pending, reply: Reply) -> None:
        """Keep the turn of a whole reply, and book it. One that only pre-warmed the cache is no turn."""
        kept = pending.request.get("max_tokens") != 0
        if kept:
            before, asked = pending.transcript, pending.request["messages"]
            self._betas |= needed_betas(asked[len(before.sent) :])
            self._transcript = before.answered(asked, reply.content, reply.stop_reason)
            self._kept = self._kept.first(len(before.turns))
            if not pending.request.get("context_management"):
                # What the server leaves of a history that it edits is told from all of it in every turn.
                before.sent.set_down()
        with self._books.failing_open("booking"):
            self.settle(pending, Bill.of(reply.usage), kept=kept)
        if kept:
            tail = pending.plan.tail if pending.plan else None
            self._kept = self._kept.plus([_KeptTurn(pending.turn, tail)])
            self._rests(pending, reply)

    def settle(self, pending: Pending, bill: Bill, *, kept: bool) -> None:
        """Book what was billed, whatever becomes of the turn."""
        with self._booking:
            plan, at, before = pending.plan, pending.started, self._ledger.last
            if plan is None:
                model = pending.request["model"]
                self._ledger, pending.turn = self._books.settle_unplanned(self._ledger, model, bill, at=at)
            elif pending.request.get("max_tokens") == 0:
                self._ledger, pending.turn = self._books.settle_keep_alive(self._ledger, plan, bill, at=at)
            else:
                self._ledger, pending.turn = self._books.settle(self._ledger, plan, bill, at=at)
                self._prompt = plan.prompt
            if not kept:
                # The next turn goes on from the last one that was kept, and is compared with that.
                self._ledger = attrs.evolve(self._ledger, last=before)
        self._books.settled(pending.turn, kept=kept)
        self._tell_of_warmth(pending, bill)

    def _tell_of_warmth(self, pending: Pending, bill: Bill) -> None:
        """Whether what was spent on keeping the conversation warm has paid."""
        rest = pending.rested
        outcome = None if rest is None else rest.outcome(bill.prompt.read, pending.started)
        if rest is None or outcome is None:
            return
        self._books.tell(outcome)
        if rest.first_ttl == "5m" and rest.ttl == "1h":
            held = rest.was_held(bill.prompt.read)
            used = rest.expires - TTL["1h"]
            self._habits.returned(rest.model, used=used, at=pending.started, held=held)

    def _rests(self, pending: Pending, reply: Reply | None) -> None:
        """The conversation rests from now on, or is about to."""
        with self._books.failing_open("keeping"):
            if reply is None:
                # Its reply still arrives: it is as good as at work.
                track = attrs.evolve(self._track, pause=Pause("tool_use", pending.started))
            else:
                track = self._track = self._habits.rests(
                    self._track,
                    reply.stop_reason,
                    since=pending.started,
                    by_person=speaks(pending.request),
                )
            while_it_arrived, self._rest = self._rest, None
            if not (self._books.policy.observing or pending.is_final or self._is_another_key(pending)):
                self._rest = Rest.of(
                    {**pending.besides, **pending.request},
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

    def _tell_keeper(self) -> None:
        tell = self.on_rest()
        if tell is not None:
            tell()

    def _rest_is_over(self) -> None:
        """What it holds is of no use any more."""
        rest, self._rest = self._rest, None
        if rest is not None:
            rest.is_over = True
            if rest.sent:
                self._books.tell(WarmthEnded(rest.sent, rest.spent, Decimal(0)))

    def _is_another_key(self, pending: Pending) -> bool:
        """Whether a turn was sent with options for itself, so that the next one will not begin with its prompt."""
        sent = {**pending.besides, **pending.request}
        return any(
            sent.get(name) != value
            for name, value in self._fields.items()
            if name not in _OF_NO_KEY and is_given(name, value)
        ) or bool(sent.keys() - self._fields.keys() - _OF_NO_KEY)

    @property
    def decision(self) -> Decision:
        """What to do about the conversation while it rests, and when."""
        rest = self._rest
        if rest is None:
            return LAPSE
        keeper = self._keeper
        caution = Caution() if keeper is None else keeper.caution
        allowance = None if keeper is None else keeper.budget.per_pause
        return rest.decision(self._habits, caution, self._clock(), allowance=allowance)

    @contextmanager
    def keeping_warm(self) -> Iterator["Warming | None"]:
        """A keep-alive or an upgrade of the conversation that rests, due or not; `None` if it does not rest, if nothing
        is worth sending, or if one is on its way. Its own next request may start meanwhile, and waits for nothing."""
        rest = self._rest
        warming = None
        with self._booking:
            if rest is None or rest.is_sending:
                rest = None
            else:
                rest.is_sending = True
        try:
            with self._books.failing_open("keeping"):
                warming = None if rest is None else self._warming(rest)
            yield warming
        finally:
            if rest is not None:
                rest.is_sending = False

    def _warming(self, rest: Rest) -> "Warming | None":
        at, action = self._clock(), self.decision.action
        if action == "lapse":
            return None
        request = repeated(rest.request)
        if action == "upgrade" and (upgrade := self._upgrade(rest, at)) is not None:
            request, plan = upgrade
            self._habits.upgraded(rest.model, at)
        else:
            action, plan = "keep_alive", self._ledger.repeat(rest.plan, self._books.scope.warm, at=at)
        body = without_top_level_mark(plan.marked(request))
        return Warming(rest, action, Pending(request, self._transcript, at, body=body, plan=plan))

    def _upgrade(self, rest: Rest, at: datetime) -> tuple[dict[str, Any], Plan] | None:
        """The conversation with its last reply, to be written for an hour, and a placeholder that nobody reads."""
        sent = self._transcript.sent
        request = {**repeated(rest.request), "messages": sent.plus([_PLACEHOLDER])}
        seen = as_sent(request)
        prompt = None if seen is None else self._books.prompt(seen, self._ledger, grown_from=self._prompt)
        if prompt is None:
            return None
        plan = self._ledger.upgrade(prompt, len(sent), self._books.scope.warm, at=at)
        return None if plan is None else (request, plan)

    def warmed(self, warming: "Warming", bill: Bill) -> Turn | None:
        """A keep-alive or an upgrade was answered."""
        rest, pending = warming.rest, warming.pending
        with self._booking:
            if pending.plan is not None:
                self._ledger, pending.turn = self._books.settle_keep_alive(
                    self._ledger, pending.plan, bill, at=pending.began
                )
        with self._books.failing_open("keeping"):
            is_upgrade = warming.action == "upgrade"
            cost = None if pending.turn is None else pending.turn.costs.paid
            rest.warmed(bill.prompt, cost, pending.began, is_upgrade=is_upgrade)
            if is_upgrade:
                rest.request, rest.plan = pending.request, pending.plan or rest.plan
            if pending.turn is not None:
                self._books.tell(KeptWarm(warming.action, pending.turn))
        return pending.turn

    @contextmanager
    def prewarming(self) -> Iterator[Pending]:
        """A request that writes what will not change, and a placeholder that nobody reads."""
        with self._alone():
            sent = self._transcript.sent
            request = repeated({**self.request(".", {}), "messages": sent.plus([_PLACEHOLDER])})
            if not can_be_repeated(request):
                raise ValueError(
                    "the API pre-warms no request with a thinking budget, an output format or a forced tool"
                )
            self._parting = self._parting or len(self._transcript.messages) or None
            pending = self._start(request, self._transcript)
            try:
                yield pending
            finally:
                self._over(pending)

    def left_to_lapse(self) -> None:
        """Nobody keeps it warm any more."""
        self._rest_is_over()

    def request(
        self, content: object, options: Mapping[str, Any], *, context: object = None
    ) -> dict[str, Any]:
        """The next request, without breakpoints of ours."""
        fields = {**self._fields, **checked(options, TurnOptions)}
        row = model(fields["model"])
        if self._transcript.needs_system and row.prices is not None and not row.takes_system:
            raise SystemMessagesRefusedError(fields["model"])
        messages = self._transcript.asked(
            plain(content),
            plain(context),
            takes_system=row.takes_system,
            clears=row.takes_system and platform(fields["model"]) == "claude",
        )
        given = {name: value for name, value in fields.items() if is_given(name, value)}
        check_route(given)
        return with_betas(
            {**given, "messages": messages},
            self._betas | needed_betas(messages[len(self._transcript.sent) :]),
        )

    def measured(self, request: dict[str, Any], tokens: int) -> None:
        """Take in how many tokens a request has, so that estimates are made with that."""
        with self._books.failing_open("planning"):
            self._ledger = self._books.measured(self._ledger, as_sent(request) or request, tokens)

    def _start(self, request: dict[str, Any], transcript: Transcript, *, final: bool = False) -> Pending:
        pending = Pending(request, transcript, self._clock(), is_final=final)
        last = self._ledger.last
        # Once turns follow one another again, the limit is behind.
        self._backs_off = self._backs_off and (last is None or pending.began - last.at >= TTL["5m"])
        rest, self._rest = self._rest, None
        if rest is not None:
            rest.is_over, pending.rested = True, rest
        self._track = self._habits.came(self._track, pending.began)
        try:
            self._place(pending, pending.began)
        except InvalidationRefusedError:
            self._over(pending)
            raise
        return pending

    def _place(self, pending: Pending, at: datetime, *, is_told: bool = False) -> None:
        """Plan the request as of now."""
        pending.started = at
        seen = as_sent(pending.request)
        prompt = None if seen is None else self._books.prompt(seen, self._ledger, grown_from=self._prompt)
        if prompt is not None:
            if not is_told:
                before, self._head = self._head, Head.of(seen or {}, prompt)
                self._books.compare_heads(before, self._head)
            landmarks = self._landmarks(prompt, pending.transcript)
            chosen = self._lifetime(pending, prompt, landmarks, at)
            if chosen != landmarks.lifetime:
                landmarks = attrs.evolve(landmarks, lifetime=chosen)
            pending.plan, body = self._books.placed(
                pending.request, prompt, self._ledger, at=at, landmarks=landmarks, is_told=is_told
            )
            pending.body = body if pending.plan is None else without_top_level_mark(body)

    def _lifetime(self, pending: Pending, prompt: Prompt, landmarks: Landmarks, at: datetime) -> Ttl | None:
        """How long the tail should live. Five minutes, unless the application's own traffic or a keeper tells more."""
        if pending.is_final:
            return None
        if self._backs_off:
            return "1h"
        prices = prompt.model.prices
        if prices is None or not self._habits.is_evident(self._track):
            return "5m"
        keeps = self._keeper is not None and can_be_repeated(pending.request)
        caution = self._keeper.caution if keeps and self._keeper is not None else NOBODY_KEEPS
        with self._books.failing_open("planning"):
            plan = self._books.planned(pending.request, prompt, self._ledger, at=at, landmarks=landmarks)
            held = plan.hit is not None and self._books.scope.warm.warm(prompt.nodes[plan.hit].digest, at)
            return lifetime(
                plan.forecast.written,
                self._habits.outlooks(
                    self._track, by_person=speaks(pending.request), reply=_TYPICAL_REPLY if keeps else None
                ),
                prices,
                held=plan.forecast.read,
                held_ttl=held.ttl if held else "5m",
                caution=caution,
            )
        return "5m"

    def _landmarks(self, prompt: Prompt, transcript: Transcript) -> Landmarks:
        """The tail of the last turn that is still as it was, and where forks part."""
        last = self._ledger.last
        tails = (kept.tail for kept in reversed(self._kept) if kept.tail is not None)
        is_another = last is not None and bool(prompt.changed(last.fields))
        anchor = (
            None if is_another else next((tail for tail in tails if prompt.index_of(tail) is not None), None)
        )
        parting = None if self._parting is None else self._parting - transcript.start
        return Landmarks(anchor=anchor, pins=self._pins, parting=parting)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._busy.acquire(blocking=False):
            raise TurnInProgressError
        try:
            yield
        finally:
            self._busy.release()


def _by_name(tools: Iterable[Any]) -> dict[str, Any]:
    """Those of the tools that the SDK can run."""
    return {str(tool.to_dict().get("name")): tool for tool in tools if is_runnable(tool)}


def _nobody() -> None:
    """Nobody is told."""


def _tokens_of(reply: Reply) -> int:
    return int(reply.usage.get("output_tokens") or 0)
