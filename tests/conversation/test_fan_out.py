"""Forks of a conversation: they share all before them, and of those that share a cold prefix one goes first."""

import asyncio
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Event
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic

from convcache import AsyncConversation, Conversation, Policy
from convcache.emulator import Emulator, EmulatorServer, Fault, Settings
from tests.words import GUIDE, MODEL, reply, text

FORKS = 20
WAITING = Policy()
PREFIX = [
    {"role": "user", "content": "The whole code base. " * 13_000},
    {"role": "assistant", "content": "I have read it."},
]
"""Some 50,000 tokens."""


@pytest.fixture
def slow() -> Emulator:
    """Takes its time, in real time, before it answers."""
    return Emulator(Settings(first_token_delay=timedelta(seconds=0.8)))


@pytest.fixture
def slow_url(slow) -> Iterator[str]:
    with EmulatorServer(slow) as server:
        yield server.url


def in_threads(url: str, *, policy: Policy = WAITING, stream: bool = False) -> None:
    with Anthropic(base_url=url, api_key="x", max_retries=0) as client:
        parent = Conversation(client, model=MODEL, max_tokens=50, messages=PREFIX, policy=policy)
        forks = [parent.fork() for _ in range(FORKS)]

        def ask(number: int) -> None:
            if stream:
                with forks[number].stream(f"question {number}") as answer:
                    answer.until_done()
            else:
                forks[number].send(f"question {number}")

        with ThreadPoolExecutor(FORKS) as pool:
            list(pool.map(ask, range(FORKS)))


def in_tasks(url: str, *, policy: Policy = WAITING, stream: bool = False) -> None:
    async def ask(fork: AsyncConversation, number: int) -> None:
        if stream:
            async with fork.stream(f"question {number}") as answer:
                await answer.until_done()
        else:
            await fork.send(f"question {number}")

    async def all_of_them() -> None:
        async with AsyncAnthropic(base_url=url, api_key="x", max_retries=0) as client:
            parent = AsyncConversation(client, model=MODEL, max_tokens=50, messages=PREFIX, policy=policy)
            await asyncio.gather(*(ask(parent.fork(), number) for number in range(FORKS)))

    asyncio.run(all_of_them())


@pytest.mark.parametrize("fan_out", [in_threads, in_tasks])
@pytest.mark.parametrize("stream", [False, True])
def test_twenty_forks_write_a_cold_prefix_once(slow, slow_url, fan_out, stream):
    fan_out(slow_url, stream=stream)

    written = sorted(request.usage.written for request in slow.requests)
    assert written[-1] > 50_000
    assert sum(written[:-1]) < FORKS * 20
    assert len(written) == FORKS


@pytest.mark.parametrize("fan_out", [in_threads, in_tasks])
def test_without_the_gate_each_writes_what_it_does_not_find(slow, slow_url, fan_out):
    fan_out(slow_url, policy=Policy(fan_out="off"))
    # All of them, where none is so late that it finds the prefix.
    assert len([request for request in slow.requests if request.usage.written > 50_000]) > FORKS // 2


def test_nobody_waits_to_save_a_cent(slow, slow_url):
    in_threads(slow_url, policy=Policy(min_wait_saving="0.5"))
    # All of them, where none is so late that it finds the prefix.
    assert len([request for request in slow.requests if request.usage.written > 50_000]) > FORKS // 2


def test_nobody_waits_longer_than_was_said(slow, slow_url):
    in_threads(slow_url, policy=Policy(max_wait=timedelta(seconds=0.05)))
    assert len([request for request in slow.requests if request.usage.written > 50_000]) > 1


def test_streams_wait_for_the_first_event_and_not_for_the_last():
    emulator = Emulator(
        Settings(first_token_delay=timedelta(seconds=0.2), chunk_delay=timedelta(seconds=0.2))
    )
    seen: list[str] = []
    with EmulatorServer(emulator) as server, Anthropic(base_url=server.url, api_key="x") as client:
        parent = Conversation(client, model=MODEL, max_tokens=50, messages=PREFIX)
        forks = [parent.fork() for _ in range(3)]

        def ask(fork: Conversation) -> None:
            with fork.stream("a question") as answer:
                next(answer)
                seen.append("began")
                answer.until_done()
                seen.append("done")

        with ThreadPoolExecutor(3) as pool:
            list(pool.map(ask, forks))

    assert seen == ["began"] * 3 + ["done"] * 3
    assert sorted(request.usage.written > 50_000 for request in emulator.requests) == [False, False, True]


def test_when_the_first_one_fails_the_next_one_goes_first(slow, slow_url):
    slow.fail(Fault(status=500))
    with pytest.raises(anthropic.InternalServerError):
        in_threads(slow_url)

    written = [request.usage.written for request in slow.requests if request.status == 200]
    assert len([tokens for tokens in written if tokens > 50_000]) == 1
    assert len(written) == FORKS - 1


def test_conversations_of_their_own_wait_for_one_another_only_if_asked_to(slow, slow_url):
    def openers(policy: Policy, words: str) -> list[int]:
        before = len(slow.requests)
        with (
            Anthropic(base_url=slow_url, api_key="x", max_retries=0) as client,
            ThreadPoolExecutor(5) as pool,
        ):
            options: dict[str, Any] = {"model": MODEL, "max_tokens": 50, "system": words * 13_000}
            chats = [Conversation(client, policy=policy, **options) for _ in range(5)]
            list(pool.map(lambda chat: chat.send(f"hello {id(chat)}"), chats))
        return [request.usage.written > 40_000 for request in slow.requests[before:]]

    assert sum(openers(Policy(), "The rules of it. ")) == 5
    assert sum(openers(Policy(fan_out="all"), "Other rules here. ")) == 1


def test_a_fork_reads_what_its_parent_left(client, emulator):
    parent = Conversation(client, model=MODEL, max_tokens=50, system=GUIDE, clock=emulator.clock.now)
    parent.send("hello")
    parent.send("more")
    side = parent.fork()
    side.send("sum it up in a line")

    assert side.turns[-1].actual.read == parent.turns[-1].actual.cached


@pytest.fixture
def switching() -> Iterator[None]:
    """Threads take turns as often as they can."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("switching")
def test_a_turn_that_is_kept_while_others_fork_is_not_lost(client, emulator):
    chat = Conversation(client, model=MODEL, max_tokens=50, clock=emulator.clock.now)
    done = Event()

    def fork() -> None:
        while not done.is_set():
            chat.fork()

    with ThreadPoolExecutor(2) as threads:
        forking = [threads.submit(fork) for _ in range(2)]
        for _ in range(60):
            chat.send("more")
        done.set()

    assert not any(each.exception() for each in forking)
    assert len(chat.messages) == 120


def test_a_side_question_leaves_its_parent_as_it_was(client, emulator):
    parent = Conversation(client, model=MODEL, max_tokens=50, system=GUIDE, clock=emulator.clock.now)
    parent.send("hello")
    before = parent.messages, parent.usage, len(parent.turns)
    parent.fork().send("sum it up in a line")
    assert (parent.messages, parent.usage, len(parent.turns)) == before
    parent.send("more")

    assert parent.turns[-1].actual.read >= parent.turns[0].actual.cached


def test_the_answer_before_the_fork_is_written_once_for_all(client, emulator):
    parent = Conversation(client, model=MODEL, max_tokens=50, system=GUIDE, clock=emulator.clock.now)
    emulator.script(reply(text("A long answer. " * 2_000)))
    parent.send("hello")
    forks = [parent.fork() for _ in range(3)]
    for number, fork in enumerate(forks):
        fork.send(f"question {number}")

    assert [fork.turns[-1].actual.written > 5_000 for fork in forks] == [True, False, False]
