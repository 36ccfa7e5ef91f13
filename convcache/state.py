"""The part of a conversation that sends nothing, which `Conversation` and `AsyncConversation` share.

Assembles each turn's request and records what its reply changes. Trouble in planning or in the books becomes an
event and never fails a turn; trouble in the history is an error before anything is sent.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from datetime import datetime, timedelta
from threading import Lock
from typing import Any, Self

import attrs

from convcache.books import Books, Clock, SentHead
from convcache.core.blocks import unmarked
from convcache.core.catalog import model, platform
from convcache.core.edit import Change, Edit, When
from convcache.core.events import HistoryEdited, Turn
from convcache.core.planner import Plan
from convcache.core.prompt import Prompt
from convcache.core.refresh import Decision
from convcache.core.transcript import Transcript
from convcache.core.usage import Bill, Costs, Usage
from convcache.editing import Proposal, Waiting, check_when
from convcache.errors import InvalidationRefusedError, SystemMessagesRefusedError, TurnInProgressError
from convcache.fields import Fields, are_of_the_key
from convcache.gate import Gate, Leader
from convcache.history import History
from convcache.keeper import AsyncKeeper, Keeper
from convcache.pauses import PLACEHOLDER, Pauses
from convcache.pending import Pending, Warming
from convcache.request import (
    Reply,
    as_sent,
    check_route,
    definitions,
    needed_betas,
    plain,
    with_betas,
    without_top_level_mark,
)
from convcache.resting import can_be_repeated, repeated


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
        self._books, self._keeper, self._clock = books, keeper, clock
        self._fields = Fields.of(fields, options)
        self._history = History(transcript=Transcript.adopting(plain(messages)))
        self._parting: int | None = None
        self._betas = needed_betas(self.transcript.messages)
        self._waiting: tuple[Waiting, ...] = ()
        self._gate = Gate()
        self._ledger = books.opened()
        self._prompt: Prompt | None = None
        self._head: SentHead | None = None
        self.pauses = Pauses(books, keeper)
        self._alone, self._booking = _Alone(), Lock()

    @property
    def messages(self) -> list[dict[str, Any]]:
        """A copy of the history and of what is staged, without breakpoints."""
        staged = self.transcript.staged.with_asides(takes_system=self._fields.takes_system)
        return [deepcopy(unmarked(message)) for message in (*self.transcript.sent, *staged.messages)]

    @property
    def transcript(self) -> Transcript:
        """The history."""
        return self._history.transcript

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The booked turns of the history."""
        return self._history.turns

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
        with self._alone:
            self._stage(self.transcript.append(*plain(items)))

    def note(self, text: str) -> None:
        """Stage a note to the model."""
        with self._alone:
            self._stage(self.transcript.aside({"type": "text", "text": text}))

    def _stage(self, transcript: Transcript) -> None:
        self._history = self._history.with_transcript(transcript)

    def update(self, options: Mapping[str, Any]) -> None:
        """Change fields of all later turns."""
        with self._alone:
            self._fields = self._fields.updated(options)
            if are_of_the_key(options):
                self.pauses.give_up()

    def add_tools(self, tools: Sequence[object]) -> None:
        """Give the model more tools from the next turn on."""
        blocks = [
            {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": tool}}
            for tool in definitions(tools)
        ]
        with self._alone:
            self._fields = self._fields.knowing(tools)
            self._change_tools(self._fields.with_tools(tools), blocks)

    def remove_tools(self, names: Iterable[str]) -> None:
        """Take tools away from the next turn on."""
        gone = list(dict.fromkeys(names))
        blocks = [{"type": "tool_removal", "tool": {"type": "tool_reference", "name": name}} for name in gone]
        with self._alone:
            known = {*(tool.get("name") for tool in self._fields.tools), *self.transcript.added_tools}
            if unknown := [name for name in gone if name not in known]:
                raise ValueError(f"there is no tool called {', '.join(map(repr, unknown))}")
            self._change_tools(self._fields.without_tools(gone), blocks)

    def _change_tools(self, fields: Fields, blocks: Iterable[dict[str, Any]]) -> None:
        """By blocks in the next message, where the model takes them, so that the cached prompt stays as it is; else by
        another list of tools. Where it has had none in the prompt, the first block would cost as much."""
        if self._fields.takes_system and self._fields.has_shown_tools:
            self._stage(self.transcript.aside(*blocks))
        else:
            self._fields = fields
            self.pauses.give_up()

    def runnable_tools(self, request: Mapping[str, Any]) -> list[Any]:
        """The tools of a request and those that came in by the way, as what the SDK can run where it can."""
        return self._fields.to_run(request.get("tools") or (), self.transcript.added_tools)

    def pin(self) -> None:
        """Keep a breakpoint at the end of the last kept turn."""
        with self._alone:
            self._history = self._history.pinned()

    def rewind(self, turns: int) -> None:
        """Forget the last turns."""
        with self._alone:
            self._history = self._history.rewound(turns)
            if self._parting is not None and self._parting > len(self.transcript.messages):
                self._parting = None
            self.pauses.give_up()

    def fork(self) -> Self:
        """An independent state that goes on from the kept turns, with books of its own. All it shares is values."""
        self._part()
        fork = object.__new__(type(self))
        fork.__dict__.update(self.__dict__)
        fork._ledger = attrs.evolve(self._ledger, total=Usage(), costs=Costs())
        fork._alone, fork._booking = _Alone(), Lock()
        fork.pauses = self.pauses.fork()
        return fork

    def _part(self) -> None:
        # A turn may be kept meanwhile: nothing else of the state is touched.
        self._parting = len(self.transcript.messages) or self._parting

    def edit(self, change: Change, when: When) -> Edit:
        """Change the history, now or when it costs less."""
        check_when(when)
        with self._alone:
            proposal = Proposal.of(change, when, self.transcript, self._outlook)
            return self._make(proposal) if self._is_due(proposal) else self._postpone(proposal)

    def _make_edits(self) -> bool:
        """The changes of the history that were waiting, as far as their time has come; tells whether one was made."""
        before, waiting, self._waiting = self.transcript, self._waiting, ()
        for one in waiting:
            if not self._is_cold() and len(self._history.kept) < one.turns:
                self._waiting = (*self._waiting, one)
                continue
            with self._books.failing_open("editing"):
                proposal = Proposal.of(one.change, one.when, self.transcript, self._outlook)
                self._make(proposal) if self._is_due(proposal) else self._postpone(proposal)
        return self.transcript is not before

    def _is_due(self, proposal: Proposal) -> bool:
        return proposal.is_due(turns=len(self._history.kept), is_cold=self._is_cold())

    def _is_cold(self) -> bool:
        """Whether nothing of the history is held that a change would lose."""
        tail = self._history.tail
        return tail is None or self._books.scope.warm.warm(tail.digest, self._clock()) is None

    def _postpone(self, proposal: Proposal) -> Edit:
        self._waiting = (*self._waiting, Waiting.of(proposal))
        return proposal.edit

    def _make(self, proposal: Proposal) -> Edit:
        self._history, self._prompt, self._parting = self._history.edited(proposal.transcript), None, None
        self.pauses.give_up()
        self._books.tell(HistoryEdited(done := attrs.evolve(proposal.edit, done=True)))
        return done

    def _outlook(self, transcript: Transcript) -> Plan | None:
        """How a request that says nothing new would be planned for a history."""
        seen = as_sent({**self._fields.sent, "messages": transcript.sent})
        prompt = None if seen is None or not transcript.sent else self._books.prompt(seen, self._ledger)
        if prompt is None or seen is None:
            return None
        landmarks = self._history.landmarks(prompt, transcript, self._ledger.last, self._parting)
        return self._books.planned(seen, prompt, self._ledger, at=self._clock(), landmarks=landmarks)

    @contextmanager
    def turn(
        self, content: object, options: Mapping[str, Any], *, context: object = None, final: bool = False
    ) -> Iterator[Pending]:
        """A turn, from its request to its end. What is not kept in between leaves no trace in the history."""
        with self._alone:
            request = self.request(content, options, context=context)
            if self._waiting and self._make_edits():
                request = self.request(content, options, context=context)
            pending = self._start(request, self.transcript, final=final)
            try:
                yield pending
            finally:
                self._over(pending)

    def request(
        self, content: object, options: Mapping[str, Any], *, context: object = None
    ) -> dict[str, Any]:
        """The next request, without breakpoints of ours."""
        request = self._fields.for_turn(options)
        row = model(request["model"])
        if self.transcript.needs_system and row.prices is not None and not row.takes_system:
            raise SystemMessagesRefusedError(request["model"])
        messages = self.transcript.asked(
            plain(content),
            plain(context),
            takes_system=row.takes_system,
            clears=row.takes_system and platform(request["model"]) == "claude",
        )
        check_route(request)
        betas = self._betas | needed_betas(messages.latest(len(self.transcript.messages)))
        return with_betas({**request, "messages": messages}, betas)

    def _start(self, request: dict[str, Any], transcript: Transcript, *, final: bool = False) -> Pending:
        pending = Pending(request, transcript, self._clock(), is_final=final)
        pending.rested = self.pauses.end(pending.began, self._ledger.last)
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
        if prompt is None:
            return
        if not is_told:
            before, self._head = self._head, SentHead.of(seen or {}, prompt)
            self._books.compare_heads(before, self._head)
        pending.plan, body = self._books.placed(
            pending.request,
            prompt,
            self._ledger,
            at=at,
            landmarks=self._history.landmarks(prompt, pending.transcript, self._ledger.last, self._parting),
            lifetime=lambda plan: self.pauses.lifetime(pending, plan),
            is_told=is_told,
        )
        pending.body = body if pending.plan is None else without_top_level_mark(body)

    def ahead_of(self, pending: Pending) -> Leader | None:
        """Whom a turn should wait for; nobody, if it goes first, if nobody goes before it, or if it has waited."""
        policy = self._books.policy
        if policy.fan_out == "off" or policy.observing or pending.plan is None:
            return None
        if pending.waited >= policy.max_wait:
            return None
        with self._books.failing_open("planning"):
            gate = self._gate_to_pass
            ahead, pending.leader = gate.enter(pending.plan, min_saving=policy.min_wait_saving)
            return ahead
        return None

    @property
    def _gate_to_pass(self) -> Gate:
        return self._books.scope.gate if self._books.policy.fan_out == "all" else self._gate

    def patience(self, pending: Pending) -> timedelta:
        """How much longer a turn waits for others."""
        return self._books.policy.max_wait - pending.waited

    def waited(self, pending: Pending, time: timedelta) -> None:
        """After a wait the cache is another. What there is to tell of the request was told before."""
        pending.waited += time
        self._place(pending, self._clock(), is_told=True)

    def limited(self, headers: Mapping[str, str]) -> None:
        """The API is at its limit."""
        self._books.limits_told(headers)
        if self._keeper is not None:
            self._keeper.yield_to_others(headers)
        self.pauses.backs_off(headers.get("retry-after", ""), self._ledger.last, self._clock())

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

    def begun(self, pending: Pending, bill: Bill | None) -> None:
        """The reply has begun: what was written can be read by others."""
        if pending.plan is not None and bill is not None:
            self._books.begun(pending.plan, self._ledger, bill, at=pending.started)
            self._rest(pending, None)
        self.let_go(pending)

    def answered(self, pending: Pending, reply: Reply) -> None:
        """Keep the turn of a whole reply, and book it. One that only pre-warmed the cache is no turn."""
        kept = not pending.only_prewarms
        if kept:
            self._keep(pending, reply)
        with self._books.failing_open("booking"):
            self.settle(pending, Bill.of(reply.usage), kept=kept)
        if kept:
            self._history = self._history.booked(pending.turn, pending.plan.tail if pending.plan else None)
            self._rest(pending, reply)

    def _keep(self, pending: Pending, reply: Reply) -> None:
        before, asked = pending.transcript, pending.request["messages"]
        self._betas |= needed_betas(asked.latest(len(before.messages)))
        after = before.answered(asked, reply.content, reply.stop_reason)
        self._history = self._history.answered(before, after)
        # What the server leaves of a history that it edits is told from all of it in every turn.
        before.messages.set_down(keeps_json=bool(pending.request.get("context_management")))

    def settle(self, pending: Pending, bill: Bill, *, kept: bool) -> None:
        """Book what was billed, whatever becomes of the turn."""
        with self._booking:
            plan, at, before = pending.plan, pending.started, self._ledger.last
            if plan is None:
                model_id = pending.request["model"]
                self._ledger, pending.turn = self._books.settle_unplanned(self._ledger, model_id, bill, at=at)
            elif pending.only_prewarms:
                self._ledger, pending.turn = self._books.settle_keep_alive(self._ledger, plan, bill, at=at)
            else:
                self._ledger, pending.turn = self._books.settle(self._ledger, plan, bill, at=at)
                self._prompt = plan.prompt
            if not kept:
                # The next turn goes on from the last one that was kept, and is compared with that.
                self._ledger = attrs.evolve(self._ledger, last=before)
        self._books.settled(pending.turn, kept=kept)
        self.pauses.settle(pending.rested, pending.plan, bill, pending.started)

    def _rest(self, pending: Pending, reply: Reply | None) -> None:
        """Between this turn and the next one; while its reply arrives, that is still to come."""
        with self._books.failing_open("keeping"):
            goes_on = not pending.is_final and self._fields.share_key_with(pending.whole)
            self.pauses.begin(pending, reply, goes_on=goes_on)

    def let_go(self, pending: Pending) -> None:
        """Nobody has to wait for this turn any more."""
        if pending.leader is not None:
            self._gate_to_pass.leave(pending.leader)
            pending.leader = None

    def _over(self, pending: Pending) -> None:
        """Whatever became of a turn: nobody waits for it, and if it came to nothing, all is as it was."""
        self.let_go(pending)
        if pending.turn is None or pending.only_prewarms:
            self.pauses.go_on(pending.rested)

    def first_of_loop(
        self, content: object, options: Mapping[str, Any], *, context: object = None
    ) -> dict[str, Any]:
        """The request that a loop of somebody else's begins with, which sends the history itself from there on."""
        with self._alone:
            self._make_edits()
            return self.request(content, options, context=context)

    def followed(self, request: dict[str, Any], *, besides: Mapping[str, Any], since: Transcript) -> Pending:
        """A turn of such a loop, with what its requests have besides their bodies.

        Raises:
            TurnInProgressError: The conversation has gone on besides the loop, which knows nothing of that.
        """
        with self._alone:
            if self.transcript is not since:
                raise TurnInProgressError
            transcript = since.followed(request["messages"])
            messages = transcript.sent.plus(transcript.staged.messages)
            pending = self._start({**request, "messages": messages}, transcript)
            pending.besides, pending.base = besides, since
            return pending

    def ended(self, pending: Pending, *, reply: Reply | None = None, bill: Bill | None = None) -> Transcript:
        """The end of such a turn: with its whole reply, or with what it was billed until nobody read on."""
        with self._alone:
            if reply is not None and pending.base is self.transcript:
                self.answered(pending, reply)
            elif reply is not None:
                # The conversation has gone on meanwhile, and that is what is kept. The loop is told when it goes on.
                self.settle(pending, Bill.of(reply.usage), kept=False)
                self._over(pending)
                return pending.transcript
            elif bill is not None:
                self.settle(pending, bill, kept=False)
            self._over(pending)
            return self.transcript

    @property
    def decision(self) -> Decision:
        """What to do about the conversation while it rests, and when."""
        return self.pauses.decision(self._clock())

    @contextmanager
    def keeping_warm(self) -> Iterator[Warming | None]:
        """A keep-alive or an upgrade of the conversation that rests, due or not; `None` if it does not rest, if nothing
        is worth sending, or if one is on its way. Its own next request may start meanwhile, and waits for nothing."""
        warming = None
        with self.pauses.sending() as rest:
            with self._books.failing_open("keeping"):
                if rest is not None:
                    at = self._clock()
                    warming = self.pauses.warming(rest, self.transcript, self._ledger, self._prompt, at)
            yield warming

    def warmed(self, warming: Warming, bill: Bill) -> Turn | None:
        """A keep-alive or an upgrade was answered."""
        pending = warming.pending
        with self._booking:
            if pending.plan is not None:
                self._ledger, pending.turn = self._books.settle_keep_alive(
                    self._ledger, pending.plan, bill, at=pending.began
                )
        with self._books.failing_open("keeping"):
            self.pauses.warmed(warming, bill.prompt, pending.turn)
        return pending.turn

    @contextmanager
    def prewarming(self) -> Iterator[Pending]:
        """A request that writes what will not change, and a placeholder that nobody reads."""
        with self._alone:
            messages = self.transcript.sent.plus([PLACEHOLDER])
            request = repeated({**self.request(".", {}), "messages": messages})
            if not can_be_repeated(request):
                raise ValueError(
                    "the API pre-warms no request with a thinking budget, an output format or a forced tool"
                )
            if self._parting is None:
                self._part()
            pending = self._start(request, self.transcript)
            try:
                yield pending
            finally:
                self._over(pending)

    def measured(self, request: dict[str, Any], tokens: int) -> None:
        """Take in how many tokens a request has, so that estimates are made with that."""
        with self._books.failing_open("planning"):
            self._ledger = self._books.measured(self._ledger, as_sent(request) or request, tokens)


class _Alone:
    """A place where one is at a time, and nobody waits for it."""

    def __init__(self) -> None:
        self._lock = Lock()

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            raise TurnInProgressError

    def __exit__(self, *_: object) -> None:
        self._lock.release()
