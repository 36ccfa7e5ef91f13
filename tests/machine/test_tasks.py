"""The same lives in tasks of asyncio, where whoever speaks may stop at any moment in which they wait."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from typing import Any

import httpx2
import pytest
from anthropic import AsyncAnthropic, beta_async_tool
from hypothesis import strategies as st
from hypothesis.stateful import rule

from convcache import AsyncConversation
from convcache.core.events import HistoryEdited
from convcache.emulator import AsyncEmulatorTransport
from tests.machine.lives import Lives
from tests.machine.words import lengths, lived
from tests.words import reply, text


@beta_async_tool
async def look_up(word: str) -> str:
    """Looks a word up."""
    await asyncio.sleep(0)
    return f"what {word} means " * 20


class WaitingTransport(AsyncEmulatorTransport):
    """Lets other tasks run before a request leaves, and before each piece of its reply but the first."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await asyncio.sleep(0)
        response = await super().handle_async_request(request)
        return httpx2.Response(
            response.status_code, headers=response.headers, stream=_Waiting(response.stream)
        )


class _Waiting(httpx2.AsyncByteStream):
    def __init__(self, chunks: Any) -> None:
        self._chunks = chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        first = True
        async for chunk in self._chunks:
            if not first:
                await asyncio.sleep(0)
            yield chunk
            first = False


class TaskLives(Lives):
    """Conversations in tasks, which are cancelled wherever they wait."""

    tool: Any = look_up
    kind: Any = AsyncConversation

    def connect(self) -> None:
        self.loop_ = asyncio.Runner()
        http_client = httpx2.AsyncClient(transport=WaitingTransport(self.emulator))
        self.client = AsyncAnthropic(
            base_url="http://emulator", api_key="x", http_client=http_client, max_retries=0
        )
        # The SDK's first request finds out where it runs, in a thread.
        self.run(self.client.models.list())
        self.emulator.reset()

    def teardown(self) -> None:
        if hasattr(self, "loop_"):
            self.loop_.close()

    def run(self, what: Any) -> Any:
        async def awaited() -> Any:
            return await what

        return self.loop_.run(awaited())

    def send(self, chat: Any, content: Any = None, *, streamed: bool = False, **options: Any) -> None:
        self.run(self.sending(chat, content, streamed=streamed, **options))

    async def sending(
        self, chat: Any, content: Any = None, *, streamed: bool = False, **options: Any
    ) -> None:
        if streamed:
            async with chat.stream(content, **options) as stream:
                await stream.get_final_message()
        else:
            await chat.send(content, **options)

    def begin_to_listen(self, chat: Any, content: Any) -> None:
        async def listening() -> None:
            async with chat.stream(content) as stream:
                await anext(stream)

        self.run(listening())

    def loop(self, chat: Any, content: Any, *, streamed: bool, rounds: int | None = None) -> None:
        self.run(self.looping(chat, content, streamed=streamed, rounds=rounds))

    async def looping(self, chat: Any, content: Any, *, streamed: bool, rounds: int | None = None) -> None:
        runner, number = chat.tool_runner(content, stream=streamed), 0
        try:
            async for answer in runner:
                number += 1
                if streamed and number == rounds:
                    await anext(aiter(answer))
                    await answer.close()
                elif streamed:
                    await answer.get_final_message()
                if number == rounds:
                    break
        finally:
            await runner.close()

    def count(self, chat: Any, content: Any) -> int:
        return self.run(chat.count_tokens(content))

    def keep_alive(self, chat: Any) -> Any:
        return self.run(chat.keep_alive())

    def prewarm(self, chat: Any) -> Any:
        return self.run(chat.prewarm())

    def all_at_once(self, asks: list[tuple[Any, str]], *, streamed: bool) -> None:
        async def asking() -> None:
            await asyncio.gather(*(self.sending(*ask, streamed=streamed) for ask in asks))

        self.run(asking())

    async def cancelled(self, saying: Coroutine[Any, Any, None], *, after: int) -> bool:
        """Whether it was stopped, after it had waited so many times."""
        task = asyncio.ensure_future(saying)
        for _ in range(after):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return task.cancelled()

    @rule(number=st.integers(0, 3), after=st.integers(0, 14), length=lengths, streamed=st.booleans())
    def stop_and_speak_again(self, number: int, after: int, length: int, streamed: bool) -> None:
        life, content = self.life(number), self.said(length)
        self.turn(life, self.said(1))
        history, edits = life.chat.messages, len(self.told(HistoryEdited))
        self.emulator.script(answer := reply(text(self.said(40))))
        stopped = self.run(self.cancelled(self.sending(life.chat, content, streamed=streamed), after=after))
        if not stopped:
            life.kept(content)
            return
        self.unchanged(life, history, edits)
        self.emulator.replies.clear()
        self.emulator.script(answer)
        self.turn(life, content, streamed=streamed)
        if len(self.told(HistoryEdited)) == edits:
            self.read_what_was_warm(life)

    @rule(number=st.integers(0, 3), after=st.integers(0, 30), streamed=st.booleans(), length=lengths)
    def stop_a_loop(self, number: int, after: int, streamed: bool, length: int) -> None:
        life, content, edits = self.life(number), self.said(length), len(self.told(HistoryEdited))
        turns = len(life.chat.turns)
        for _ in range(2):
            self.script_calls(2)
        self.emulator.script(reply(text(self.said(5))))
        self.run(self.cancelled(self.looping(life.chat, content, streamed=streamed), after=after))
        self.emulator.replies.clear()
        kept = len(life.chat.turns) - turns
        if kept > 0:
            life.kept(content, turns=kept, before=edits, edits=len(self.told(HistoryEdited)))
            if kept < 3:
                self.go_on_or_back(life, kept, goes_on=bool(after % 2))

    @rule(
        number=st.integers(0, 3),
        forks=st.integers(2, 4),
        stopped=st.integers(0, 3),
        after=st.integers(0, 20),
        length=lengths,
        streamed=st.booleans(),
    )
    def stop_one_of_many(
        self, *, number: int, forks: int, stopped: int, after: int, length: int, streamed: bool
    ) -> None:
        """The others go on, and each is kept."""
        life, answer = self.life(number), reply(text(self.said(3)))
        forked = [self.forked(life) for _ in range(forks)]
        asks = [self.said(length) for _ in forked]
        self.emulator.script(*[answer] * forks)
        history, edits = life.chat.messages, len(self.told(HistoryEdited))

        async def asking() -> list[bool]:
            return await asyncio.gather(
                *(
                    self.cancelled(
                        self.sending(each.chat, ask, streamed=streamed),
                        after=after if place == stopped % forks else 10_000,
                    )
                    for place, (each, ask) in enumerate(zip(forked, asks, strict=True))
                )
            )

        cancelled = self.run(asking())
        self.emulator.replies.clear()
        for each, ask, was_cancelled in zip(forked, asks, cancelled, strict=True):
            if was_cancelled:
                self.unchanged(each, history, edits)
            else:
                each.kept(ask, before=edits, edits=len(self.told(HistoryEdited)))
        assert sum(cancelled) <= 1
        self.lives = [*self.lives, forked[stopped % forks]][-4:]


def test_whatever_is_stopped_the_next_turn_goes_on() -> None:
    lived(TaskLives, runs=20, steps=30, seeded=True)


@pytest.mark.long
def test_five_hundred_lives_of_fifty_steps() -> None:
    lived(TaskLives, runs=500, steps=50)
