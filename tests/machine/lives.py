"""A machine that leads conversations through everything their callers can do, and all that can befall them."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic import Anthropic
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from convcache import Conversation, Policy, Usage
from convcache.core.events import HistoryEdited
from convcache.emulator import EmulatorTransport, Fault
from convcache.emulator.tokens import estimated_tokens
from tests.machine.life import (
    BETAS,
    CITATION,
    DOCUMENT,
    IMAGE,
    LONG_HISTORY,
    OTHER_RULES,
    SERVER_EDITS,
    SUMMARY,
    Life,
    from_the_last_question,
    look_up,
    with_another_beginning,
    without_asides,
    without_results,
)
from tests.machine.words import MODELS, Json, World, calls_of, lengths, platforms, says, ttls
from tests.words import TOOL, call, reply, result, text, thinking

FAULTS = [Fault(status=500), Fault(status=529), Fault(status=429, retry_after=0.01), Fault(cut_after=0)]
LOST = (anthropic.APIError, httpx2.TransportError)


class Unhurried(EmulatorTransport):
    """Gives other threads the time to ask meanwhile."""

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        time.sleep(0.001)
        return super().handle_request(request)


class Lives(World):
    """Conversations on one client, started, forked and led through everything that can happen to them."""

    counted = True

    @initialize(platform=platforms, ttl=ttls, data=st.data())
    def begin(self, platform: str, ttl: str, data: st.DataObject) -> None:
        self.emulate(platform)
        self.models = MODELS[platform]
        self.connect()
        self.options: dict[str, Any] = {
            "model": data.draw(st.sampled_from(self.models)),
            "max_tokens": 4_000,
            "system": [
                text("The rules. " * data.draw(st.sampled_from([50, 300, 2_500]))),
                text("And a profile."),
            ],
            "tools": [self.tool],
            "messages": LONG_HISTORY if data.draw(st.integers(0, 2)) == 2 else [],
        }
        self.policy = Policy(ttl=ttl, min_wait_saving=0)
        self.chats: list[Any] = []
        self.lives = [self.opened()]

    # What a caller says to the network, which the other colour says otherwise.

    tool: Any = look_up
    kind: Any = Conversation

    def connect(self) -> None:
        http_client = httpx2.Client(transport=Unhurried(self.emulator))
        self.client: Any = Anthropic(
            base_url="http://emulator", api_key="x", http_client=http_client, max_retries=0
        )

    def send(self, chat: Any, content: Any = None, *, streamed: bool = False, **options: Any) -> None:
        if streamed:
            with chat.stream(content, **options) as stream:
                stream.get_final_message()
        else:
            chat.send(content, **options)

    def begin_to_listen(self, chat: Any, content: Any) -> None:
        with chat.stream(content) as stream:
            next(stream)

    def loop(self, chat: Any, content: Any, *, streamed: bool, rounds: int | None = None) -> None:
        """A tool loop; left after so many replies, the last one of which is only begun if it is a stream."""
        runner = chat.tool_runner(content, stream=streamed)
        for number, answer in enumerate(runner, 1):
            if streamed and number == rounds:
                next(iter(answer))
                answer.close()
            elif streamed:
                answer.get_final_message()
            if number == rounds:
                break

    def count(self, chat: Any, content: Any) -> int:
        return chat.count_tokens(content)

    def keep_alive(self, chat: Any) -> Any:
        return chat.keep_alive()

    def prewarm(self, chat: Any) -> Any:
        return chat.prewarm()

    def all_at_once(self, asks: list[tuple[Any, str]], *, streamed: bool) -> None:
        with ThreadPoolExecutor(len(asks)) as pool:
            list(pool.map(lambda ask: self.send(*ask, streamed=streamed), asks))

    # What happens.

    def opened(self) -> Life:
        chat = self.kind(
            self.client,
            **self.options,
            policy=self.policy,
            clock=self.clock.now,
            count=estimated_tokens if self.counted else None,
            on_event=self.events.append,
        )
        self.chats.append(chat)
        return Life(chat, [chat.messages])

    def forked(self, life: Life) -> Life:
        self.chats.append((fork := life.forked()).chat)
        return fork

    def life(self, number: int) -> Life:
        return self.lives[number % len(self.lives)]

    def turn(self, life: Life, content: Any, **options: Any) -> None:
        """A turn, of which nothing is lost."""
        before = len(self.told(HistoryEdited))
        self.send(life.chat, content, **options)
        words = [content] if isinstance(content, str) else []
        life.kept(*words, before=before, edits=len(self.told(HistoryEdited)))

    @rule(
        number=st.integers(0, 3),
        length=lengths,
        streamed=st.booleans(),
        answers=st.integers(0, 25),
        in_context=st.sampled_from([0, 0, 3, 400]),
        bare=st.booleans(),
    )
    def speak(
        self, *, number: int, length: int, streamed: bool, answers: int, in_context: int, bare: bool
    ) -> None:
        life = self.life(number)
        self.emulator.script(reply(*(text(self.said(2)) for _ in range(answers))))
        context = {"context": self.said(in_context)} if in_context else {}
        content = None if bare and life.has_ask else self.said(length)
        self.turn(life, content, streamed=streamed, **context)

    @rule(
        number=st.integers(0, 3),
        rounds=st.lists(st.integers(1, 12), min_size=1, max_size=4),
        thinks=st.booleans(),
        tells=st.booleans(),
        length=lengths,
    )
    def use_tools(self, *, number: int, rounds: list[int], thinks: bool, tells: bool, length: int) -> None:
        life, content = self.life(number), self.said(length)
        options: Json = {"thinking": {"type": "adaptive"}} if thinks else {}
        for calls in rounds:
            names = self.script_calls(calls, thinks=thinks)
            self.turn(life, content, **options)
            content = [result(name, self.said(length)) for name in names]
            options = {**options, **({"context": self.said(3)} if tells else {})}
        self.emulator.script(reply(*([thinking(self.said(3))] if thinks else []), text(self.said(5))))
        self.turn(life, content, **options)

    def script_calls(self, calls: int, *, thinks: bool = False) -> list[str]:
        self.names += 1
        names = [f"call{self.names}_{n}" for n in range(calls)]
        self.emulator.script(reply(*([thinking(self.said(3))] if thinks else []), *map(call, names)))
        return names

    @rule(
        number=st.integers(0, 3),
        rounds=st.lists(st.integers(1, 12), max_size=4),
        streamed=st.booleans(),
        length=lengths,
    )
    def run_tools(self, number: int, rounds: list[int], streamed: bool, length: int) -> None:
        life, content, edits = self.life(number), self.said(length), len(self.told(HistoryEdited))
        for calls in rounds:
            self.script_calls(calls)
        self.emulator.script(reply(text(self.said(5))))
        self.loop(life.chat, content, streamed=streamed)
        life.kept(content, turns=len(rounds) + 1, before=edits, edits=len(self.told(HistoryEdited)))

    @rule(
        number=st.integers(0, 3),
        left=st.integers(1, 3),
        streamed=st.booleans(),
        goes_on=st.booleans(),
        length=lengths,
    )
    def leave_a_loop_early(self, number: int, left: int, streamed: bool, goes_on: bool, length: int) -> None:
        life, content, edits = self.life(number), self.said(length), len(self.told(HistoryEdited))
        history = life.chat.messages
        for _ in range(left):
            self.script_calls(2)
        self.loop(life.chat, content, streamed=streamed, rounds=left)
        turns = left - 1 if streamed else left
        if turns:
            life.kept(content, turns=turns, before=edits, edits=len(self.told(HistoryEdited)))
            self.go_on_or_back(life, turns, goes_on)
        else:
            self.unchanged(life, history, edits)

    @rule(number=st.integers(0, 3), kept=st.integers(0, 2), goes_on=st.booleans(), length=lengths)
    def fail_in_a_loop(self, number: int, kept: int, goes_on: bool, length: int) -> None:
        life, content, edits = self.life(number), self.said(length), len(self.told(HistoryEdited))
        history = life.chat.messages
        for _ in range(kept):
            self.script_calls(2)
        self.emulator.fail(*[Fault()] * kept, Fault(status=500))
        with pytest.raises(LOST):
            self.loop(life.chat, content, streamed=False)
        if kept:
            life.kept(content, turns=kept, before=edits, edits=len(self.told(HistoryEdited)))
            self.go_on_or_back(life, kept, goes_on)
        else:
            self.unchanged(life, history, edits)

    def go_on_or_back(self, life: Life, turns: int, goes_on: bool) -> None:
        """Answer the calls that a loop has left behind, or forget it."""
        if goes_on:
            self.emulator.script(reply(text(self.said(3))))
            self.turn(life, [result(name) for name in calls_of(life.chat.messages)])
        else:
            self.take_back(life, turns)

    @rule(
        number=st.integers(0, 3),
        shown=st.sampled_from([IMAGE, DOCUMENT]),
        cites=st.booleans(),
        length=lengths,
    )
    def show(self, number: int, shown: Json, cites: bool, length: int) -> None:
        answer = {**text(self.said(4)), **({"citations": [CITATION]} if cites else {})}
        self.emulator.script(reply(answer))
        self.turn(self.life(number), [shown, text(self.said(length))])

    @rule(number=st.integers(0, 3), length=lengths)
    def leave_a_stream_early(self, number: int, length: int) -> None:
        life = self.life(number)
        self.turn(life, self.said(1))
        history, edits = life.chat.messages, len(self.told(HistoryEdited))
        self.emulator.script(reply(text(self.said(40))))
        self.begin_to_listen(life.chat, self.said(length))
        self.unchanged(life, history, edits)
        self.turn(life, self.said(length))
        if len(self.told(HistoryEdited)) == edits:
            self.read_what_was_warm(life)

    def unchanged(self, life: Life, history: list[Json], edits: int) -> None:
        """The history is as it was, but for changes whose time had come."""
        if len(self.told(HistoryEdited)) == edits:
            assert life.chat.messages == history
        else:
            life.past = [None] * len(life.past)

    @rule(number=st.integers(0, 3), fault=st.sampled_from(FAULTS), length=lengths, streamed=st.booleans())
    def fail_and_try_again(self, number: int, fault: Fault, length: int, streamed: bool) -> None:
        life, content = self.life(number), self.said(length)
        self.turn(life, self.said(1))
        history, usage, edits = life.chat.messages, life.chat.usage, len(self.told(HistoryEdited))
        self.emulator.fail(fault)
        with pytest.raises(LOST):
            self.send(life.chat, content, streamed=streamed)
        self.unchanged(life, history, edits)
        assert life.chat.usage == usage
        self.turn(life, content, streamed=streamed)
        if len(self.told(HistoryEdited)) == edits:
            self.read_what_was_warm(life)

    def read_what_was_warm(self, life: Life) -> None:
        """The last turn read all that the one before it had left; the server clears nothing here."""
        before, last = life.chat.turns[-2:]
        if "context_management" not in self.emulator.requests[-1].body:
            assert last.actual.read >= before.actual.cached, (before, last)
            assert last.miss is None

    @invariant()
    def all_that_was_billed_is_booked(self) -> None:
        booked = sum((chat.usage for chat in self.chats), Usage())
        billed = [request.usage for request in self.emulator.requests if request.usage is not None]
        for kind in ("read", "written_5m", "written_1h", "uncached"):
            assert getattr(booked, kind) == sum(getattr(usage, kind) for usage in billed), kind

    @rule(
        number=st.integers(0, 3),
        forks=st.integers(1, 4),
        length=lengths,
        streamed=st.booleans(),
        parent_too=st.booleans(),
    )
    def ask_at_once(self, number: int, forks: int, length: int, streamed: bool, parent_too: bool) -> None:
        life, answer = self.life(number), reply(text(self.said(3)))
        forked = [self.forked(life) for _ in range(forks)] + [life] * parent_too
        asks = [(each, self.said(length)) for each in forked]
        self.emulator.script(*[answer] * len(asks))
        edits = len(self.told(HistoryEdited))
        self.all_at_once([(each.chat, said) for each, said in asks], streamed=streamed)
        for each, said in asks:
            each.kept(said, before=edits, edits=len(self.told(HistoryEdited)))
        if len(self.lives) < 4:
            self.lives.append(forked[0])

    @rule(number=st.integers(0, 3))
    @precondition(lambda self: len(self.lives) < 4)
    def fork(self, number: int) -> None:
        self.lives.append(self.forked(self.life(number)))

    @rule()
    @precondition(lambda self: len(self.lives) < 4)
    def start_another(self) -> None:
        self.lives.append(self.opened())

    @rule(number=st.integers(0, 3), turns=st.integers(1, 3))
    def rewind(self, number: int, turns: int) -> None:
        life = self.life(number)
        if turns < len(life.past) and self.stands_after(life, turns):
            self.take_back(life, turns)

    def take_back(self, life: Life, turns: int) -> None:
        try:
            life.chat.rewind(turns)
        except ValueError:
            # Where a change has left other turns than there were, they cannot be taken back.
            assert None in life.past
            return
        life.past = life.past[:-turns]
        life.staged, life.has_ask = [], False
        assert life.past[-1] in (None, without_asides(life.chat.messages))

    def stands_after(self, life: Life, turns: int) -> bool:
        """Whether nothing dangles once so many turns are taken back."""
        probe = life.chat.fork()
        try:
            probe.rewind(turns)
        except ValueError:
            return True
        return not calls_of(probe.messages)

    @rule(
        number=st.integers(0, 3),
        how=st.sampled_from(["words", "block", "message", "exchange"]),
        length=lengths,
    )
    def append(self, number: int, how: str, length: int) -> None:
        life, said = self.life(number), self.said(length)
        match how:
            case "words":
                life.chat.append(said)
            case "block":
                life.chat.append(text(said))
            case "message":
                life.chat.append({"role": "user", "content": said})
            case "exchange":
                life.chat.append(
                    {"role": "user", "content": said}, {"role": "assistant", "content": "I see."}
                )
        life.staged.append(said)
        life.has_ask = how != "exchange"

    @rule(number=st.integers(0, 3), length=lengths)
    def note(self, number: int, length: int) -> None:
        life, said = self.life(number), self.said(length)
        life.chat.note(said)
        life.staged.append(said)

    @rule(number=st.integers(0, 3), tools=st.integers(1, 2))
    def add_tools(self, number: int, tools: int) -> None:
        life, names = self.life(number), []
        for _ in range(tools):
            self.names += 1
            names.append(f"tool_{self.names}")
        life.chat.add_tools(*({**TOOL, "name": name} for name in names))
        life.tools += names

    @rule(number=st.integers(0, 3), at=st.integers(0, 9))
    def remove_tools(self, number: int, at: int) -> None:
        life = self.life(number)
        if life.tools:
            name = life.tools.pop(at % len(life.tools))
            try:
                life.chat.remove_tools(name)
            except ValueError:
                # It had come with a message that is gone, or others took the place of all.
                assert not says(life.chat.messages, f'"{name}"')

    @rule(number=st.integers(0, 3))
    def pin(self, number: int) -> None:
        life = self.life(number)
        if life.chat.turns and life.chat.turns[-1].lapses is not None:
            life.chat.pin()

    @rule(
        number=st.integers(0, 3),
        change=st.sampled_from([without_results, from_the_last_question, with_another_beginning]),
        when=st.sampled_from(["now", "cold", "pays"]),
    )
    def edit(self, number: int, change: Callable[[list[Json]], list[Json]], when: Any) -> None:
        life = self.life(number)
        if life.chat.edit(change, when=when).done:
            life.past = [None] * len(life.past)

    @rule(number=st.integers(0, 3), length=lengths, goes_on=st.booleans())
    def sum_up(self, number: int, length: int, goes_on: bool) -> None:
        life = self.life(number)
        edits = len(self.told(HistoryEdited))
        self.send(life.chat, self.said(length), **SUMMARY)
        life.kept(before=edits, edits=len(self.told(HistoryEdited)), anew=True)
        assert life.chat.messages[0]["content"][0]["type"] == "compaction"
        if goes_on:
            self.turn(life, None)

    @rule(number=st.integers(0, 3), length=lengths)
    def count_and_speak(self, number: int, length: int) -> None:
        life, content, edits = self.life(number), self.said(length), len(self.told(HistoryEdited))
        before = life.chat.messages, life.chat.usage
        tokens = self.count(life.chat, content)
        assert (life.chat.messages, life.chat.usage) == before
        self.emulator.script(reply(text(self.said(3))))
        self.turn(life, content)
        if len(self.told(HistoryEdited)) == edits:
            assert tokens == life.chat.turns[-1].actual.prompt

    @rule(number=st.integers(0, 3), waited=st.sampled_from([0, 240, 290, 3_500]))
    def keep_warm(self, number: int, waited: int) -> None:
        life = self.life(number)
        self.clock.advance(timedelta(seconds=waited))
        history = life.chat.messages
        turn = self.keep_alive(life.chat)
        assert life.chat.messages == history
        if turn is not None:
            self.check(turn)

    @rule(number=st.integers(0, 3))
    def warm_up(self, number: int) -> None:
        life = self.life(number)
        history = life.chat.messages
        self.prewarm(life.chat)
        assert life.chat.messages == history

    @rule(number=st.integers(0, 3), data=st.data())
    def change_the_key(self, number: int, data: st.DataObject) -> None:
        life = self.life(number)
        change = data.draw(
            st.sampled_from(
                [
                    {"model": self.models[0]},
                    {"model": self.models[1]},
                    {"model": self.models[-1]},
                    {"output_config": {"effort": "low"}},
                    {"output_config": None},
                    {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
                    {"tool_choice": None},
                    {"system": OTHER_RULES},
                    {"tools": [self.tool, {**TOOL, "name": "another"}]},
                ]
            )
        )
        if "model" in change and any(message["role"] == "system" for message in life.chat.messages):
            return
        life.chat.update(**change)

    @rule(number=st.integers(0, 3), edit=st.sampled_from(SERVER_EDITS))
    def let_the_server_edit(self, number: int, edit: Json) -> None:
        self.life(number).chat.update(betas=BETAS, context_management={"edits": [edit]})

    @rule(number=st.integers(0, 3))
    def let_the_server_leave_it(self, number: int) -> None:
        self.life(number).chat.update(betas=None, context_management=None)
