"""Histories of any size: sent, streamed and forked like a short one."""

import httpx2
import pytest
from anthropic import Anthropic

from convcache import Conversation
from convcache.emulator import Emulator, EmulatorTransport, Settings, VirtualClock
from convcache.emulator.tokens import estimated_tokens
from tests.conftest import START
from tests.words import MODEL, TOOL, reply, text

PAGE = "A page of what was said é. " * 2_000
"""Some 50 kB."""


@pytest.mark.parametrize("megabytes", [5, pytest.param(50, marks=pytest.mark.long)])
def test_a_history_of_many_megabytes_works(megabytes: int) -> None:
    emulator = Emulator(Settings(max_request_bytes=2**27, kept_body_bytes=0), clock=VirtualClock(START))
    client = Anthropic(
        api_key="x",
        max_retries=0,
        http_client=httpx2.Client(transport=EmulatorTransport(emulator)),
        base_url="http://emulator",
    )
    history = [
        message
        for number in range(megabytes * 10)
        for message in (
            {"role": "user", "content": f"{number} {PAGE}"},
            {"role": "assistant", "content": f"{number} {PAGE}"},
        )
    ]
    chat = Conversation(
        client,
        model=MODEL,
        max_tokens=500,
        tools=[TOOL],
        messages=history,
        clock=emulator.clock.now,
        count=estimated_tokens,
        on_event=lambda event: None,
    )
    emulator.script(*(reply(text(f"answer {number}")) for number in range(4)))
    chat.send("one")
    with chat.stream("two") as stream:
        stream.until_done()
    side = chat.fork()
    side.send("three")
    chat.send("four")
    chat.rewind()
    chat.send("five")

    assert chat.turns[0].actual.written > megabytes * 10**6 // 4
    for turn in (*chat.turns[1:], side.turns[-1]):
        assert turn.actual.read == turn.forecast.read > megabytes * 10**6 // 4
        assert turn.actual.written < 100
    assert chat.messages[: len(history)] == [
        {**said, "content": [text(said["content"])]} if said["role"] == "user" else said for said in history
    ]
    assert len(chat.messages) == len(history) + 6
    assert len(side.messages) == len(history) + 6
