"""Loops of the callers' own through one middleware: the forecast of every request is its bill here too."""

from typing import Any

import httpx2
import pytest
from anthropic import Anthropic
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from convcache import CacheMiddleware, Policy
from convcache.emulator import EmulatorTransport
from convcache.emulator.tokens import estimated_tokens
from tests.machine.words import MODELS, World, lengths, lived, platforms, ttls
from tests.words import reply, text


class LoopLives(World):
    """Loops through one middleware, which knows them only by what they send."""

    @initialize(platform=platforms, ttl=ttls)
    def begin(self, platform: str, ttl: str) -> None:
        self.emulate(platform)
        placing = CacheMiddleware(
            Policy(ttl=ttl),
            platform=platform,
            clock=self.clock.now,
            count=estimated_tokens,
            on_event=self.events.append,
        )
        http_client = httpx2.Client(transport=EmulatorTransport(self.emulator))
        self.client = Anthropic(
            base_url="http://emulator",
            api_key="x",
            http_client=http_client,
            max_retries=0,
            middleware=[placing],
        )
        self.model = MODELS[platform][0]
        self.chats: list[list[Any]] = [[]]

    @rule(chat=st.integers(0, 3), length=lengths, rules=st.integers(0, 1), streamed=st.booleans())
    def speak(self, chat: int, length: int, rules: int, streamed: bool) -> None:
        messages = self.chats[chat % len(self.chats)]
        self.emulator.script(reply(text(self.said(3))))
        messages.append({"role": "user", "content": self.said(length)})
        request: Any = {
            "model": self.model,
            "max_tokens": 2_000,
            "system": [text("The rules. " * 900), text(f"Profile {rules}. " * 90)],
            "messages": messages,
        }
        if streamed:
            with self.client.messages.stream(**request) as stream:
                answer = stream.get_final_message()
        else:
            answer = self.client.messages.create(**request)
        messages.append({"role": "assistant", "content": answer.content})

    @rule(chat=st.integers(0, 3), at=st.integers(0, 20))
    def edit(self, chat: int, at: int) -> None:
        messages = self.chats[chat % len(self.chats)]
        if messages:
            place = 2 * (at % (len(messages) // 2))
            messages[place] = {"role": "user", "content": self.said(20)}

    @rule(chat=st.integers(0, 3))
    @precondition(lambda self: len(self.chats) < 4)
    def fork(self, chat: int) -> None:
        self.chats.append(list(self.chats[chat % len(self.chats)]))


def test_loops_through_the_middleware_are_forecast_to_the_token() -> None:
    lived(LoopLives, runs=40, steps=30, seeded=True)


@pytest.mark.long
def test_five_hundred_lives_of_fifty_steps() -> None:
    lived(LoopLives, runs=500, steps=50)
