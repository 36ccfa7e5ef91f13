"""Keepers at work: over real time, on a clock that runs faster in the keeper and in the emulator alike."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from anthropic import Anthropic, AsyncAnthropic

from convcache import AsyncConversation, AsyncKeeper, Budget, Conversation, Keeper, Policy
from convcache.core.events import HelperFailed, KeptWarm
from convcache.core.refresh import Caution
from convcache.core.rhythm import Rhythm
from convcache.emulator import Emulator, EmulatorServer, Fault, SystemClock
from convcache.habits import Habits
from tests.words import GUIDE, eventually

MODEL = "claude-opus-5-5"
"""Reads at a twentieth of the input price, so that an hour of keep-alives pays."""
PACE = 120.0
LONG = GUIDE * 8
FIVE = Policy(ttl="5m")
CAREFUL = Caution(margin=timedelta(seconds=30), upgrades=False)
"""The margin is a quarter of a second in real time: this machine may be busy."""


def returning(after: timedelta) -> Habits:
    rhythm = Rhythm()
    for what in ("opener", "early", "settled", "tool_use"):
        for _ in range(400):
            rhythm = rhythm.after(what, after)
    return Habits(rhythm)


@pytest.fixture
def clock() -> SystemClock:
    return SystemClock(speed=PACE)


@pytest.fixture
def fast(clock) -> Emulator:
    return Emulator(clock=clock)


@pytest.fixture
def server(fast) -> Iterator[EmulatorServer]:
    with EmulatorServer(fast) as server:
        yield server


@pytest.fixture
def fast_client(server) -> Iterator[Anthropic]:
    with Anthropic(base_url=server.url, api_key="x", max_retries=0) as client:
        yield client


@pytest.fixture
def events() -> list[Any]:
    return []


@pytest.fixture
def options(clock, events) -> dict[str, Any]:
    return {"model": MODEL, "max_tokens": 500, "policy": FIVE, "clock": clock.now, "on_event": events.append}


def keep_alives(emulator: Emulator) -> list[Any]:
    return [request for request in emulator.requests if request.body["max_tokens"] == 0]


def keeping(clock, events, **options: Any) -> Keeper:
    options = {"habits": returning(timedelta(minutes=59)), "caution": CAREFUL, **options}
    return Keeper(clock=clock.now, pace=PACE, on_event=events.append, **options)


def test_a_conversation_is_kept_warm_until_it_goes_on(fast, fast_client, clock, options, events):
    with keeping(clock, events) as keeper:
        chat = Conversation(fast_client, system=LONG, keeper=keeper, **options)
        chat.send("hello")
        assert eventually(lambda: len(keep_alives(fast)) == 2, seconds=15)
        chat.send("more")

    assert chat.turns[1].actual.read == chat.turns[0].actual.cached
    assert all(request.usage.read > 40_000 for request in keep_alives(fast))
    assert keeper.spent > 0


def test_twenty_conversations_are_kept_warm_and_none_is_late(fast, fast_client, clock, options, events):
    budget = Budget(per_hour=Decimal(50), per_minute=600)
    with keeping(clock, events, budget=budget) as keeper:
        chats = [
            Conversation(fast_client, system=f"{n} {GUIDE}", keeper=keeper, **options) for n in range(50)
        ]
        for chat in chats:
            chat.send("hello")
        began = len(fast.requests)
        assert eventually(lambda: len(keep_alives(fast)) >= 60, seconds=25)

    assert all(request.usage.read and not request.usage.written for request in fast.requests[began:])
    assert keeper.spent <= budget.per_hour
    assert not [event for event in events if isinstance(event, HelperFailed)]


@pytest.mark.long
@pytest.mark.parametrize("colour", ["sync", "async"])
def test_fifty_conversations_are_kept_warm_for_an_hour(events, colour):
    clock = SystemClock(speed=60)
    fast = Emulator(clock=clock)
    options = {"model": MODEL, "max_tokens": 500, "policy": FIVE, "clock": clock.now}
    budget = Budget(per_hour=Decimal(50), per_minute=600, per_pause=Decimal(1))
    settings = {"budget": budget, "caution": CAREFUL, "habits": returning(timedelta(minutes=59))}

    def sync(url: str) -> None:
        with (
            Anthropic(base_url=url, api_key="x", max_retries=0) as client,
            Keeper(clock=clock.now, pace=60, on_event=events.append, **settings) as keeper,
        ):
            chats = [Conversation(client, system=f"{n} {GUIDE}", keeper=keeper, **options) for n in range(50)]
            for chat in chats:
                chat.send("hello")
            time.sleep(59)
            for chat in chats:
                chat.send("here again")
            assert all(chat.turns[1].actual.read for chat in chats)

    async def asynchronous(url: str) -> None:
        async with (
            AsyncAnthropic(base_url=url, api_key="x", max_retries=0) as client,
            AsyncKeeper(clock=clock.now, pace=60, on_event=events.append, **settings) as keeper,
        ):
            chats = [
                AsyncConversation(client, system=f"{n} {GUIDE}", keeper=keeper, **options) for n in range(50)
            ]
            for chat in chats:
                await chat.send("hello")
            await asyncio.sleep(59)
            for chat in chats:
                await chat.send("here again")
            assert all(chat.turns[1].actual.read for chat in chats)

    with EmulatorServer(fast) as server:
        sync(server.url) if colour == "sync" else asyncio.run(asynchronous(server.url))
    assert len(keep_alives(fast)) >= 50 * 11
    assert not [request for request in keep_alives(fast) if request.usage.written]
    assert not events


@pytest.mark.parametrize("trouble", ["killed", "a wrong key", "evicted"])
def test_trouble_ends_keeping_alive_after_one_attempt(fast, server, clock, options, trouble):
    events = []
    options["on_event"] = events.append
    fast_client = Anthropic(base_url=server.url, api_key="x", max_retries=0)
    with keeping(clock, events) as keeper:
        chat = Conversation(fast_client, system=LONG, keeper=keeper, **options)
        chat.send("hello")
        if trouble == "killed":
            server.stop()
        elif trouble == "a wrong key":
            fast.fail(Fault(status=401))
        else:
            fast.evict()
        told = KeptWarm if trouble == "evicted" else HelperFailed
        assert eventually(lambda: [event for event in events if isinstance(event, told)], seconds=15)
        assert eventually(lambda: chat.decision.action == "lapse")
        time.sleep(0.5)

    assert len([event for event in events if isinstance(event, (KeptWarm, HelperFailed))]) == 1


def test_after_a_429_nothing_is_sent_for_a_while(fast, fast_client, clock, options, events):
    with keeping(clock, events) as keeper:
        first, second = (
            Conversation(fast_client, system=f"{n} {LONG}", keeper=keeper, **options) for n in range(2)
        )
        fast.fail()
        first.send("hello")
        second.send("hello")
        fast.fail(Fault(status=429, retry_after=600))
        assert eventually(lambda: [event for event in events if isinstance(event, HelperFailed)], seconds=15)
        time.sleep(1)

    assert len(keep_alives(fast)) <= 1


def test_a_paused_keeper_sends_nothing(fast, fast_client, clock, options, events):
    with keeping(clock, events) as keeper:
        keeper.pause()
        chat = Conversation(fast_client, system=LONG, keeper=keeper, **options)
        chat.send("hello")
        time.sleep(3)
        assert not keep_alives(fast)
        keeper.resume()
        time.sleep(0.3)

    assert not keep_alives(fast)


def test_a_conversation_that_nobody_holds_is_not_kept_warm(fast, fast_client, clock, options, events):
    with keeping(clock, events) as keeper:
        chat = Conversation(fast_client, system=LONG, keeper=keeper, **options)
        chat.send("hello")
        del chat
        gc.collect()
        time.sleep(2.8)

    assert not keep_alives(fast)


def test_five_thousand_abandoned_at_once_stay_within_the_budget(clock, events):
    """No API: what is counted is what the keeper would send."""

    class Abandoned:
        def __init__(self) -> None:
            self.expires = clock.now() + timedelta(minutes=5)

        @property
        def decision(self):
            from convcache.core.refresh import LAPSE, Decision

            due = self.expires - timedelta(seconds=15)
            if clock.now() >= self.expires:
                return LAPSE
            return Decision(
                action="keep_alive", due=max(due, clock.now()), cost=Decimal("0.02"), saving=Decimal("0.1")
            )

        def left_to_lapse(self) -> None:
            pass

        def keep_alive(self):
            sent.append(clock.now())
            self.expires = clock.now() + timedelta(minutes=5)
            return True

    sent: list[Any] = []
    budget = Budget(per_hour=Decimal("1.00"), per_minute=30)
    with keeping(clock, events, budget=budget) as keeper:
        abandoned = [Abandoned() for _ in range(5_000)]
        for one in abandoned:
            keeper.watch(one)
        time.sleep(6)

    assert 20 <= len(sent) <= 50
    assert all(len([at for at in sent if start <= at < start + timedelta(minutes=1)]) <= 30 for start in sent)


async def test_an_async_keeper_works_on_the_loop(fast, server, clock, options, events):
    async with (
        AsyncAnthropic(base_url=server.url, api_key="x", max_retries=0) as client,
        AsyncKeeper(
            habits=returning(timedelta(minutes=59)), caution=CAREFUL, clock=clock.now, pace=PACE
        ) as keeper,
    ):
        chat = AsyncConversation(client, system=LONG, keeper=keeper, **options)
        await chat.send("hello")
        for _ in range(300):
            await asyncio.sleep(0.05)
            if len(keep_alives(fast)) == 2:
                break
        await chat.send("more")

    assert len(keep_alives(fast)) == 2
    assert chat.turns[1].actual.read == chat.turns[0].actual.cached


SERVER = """
    import os, signal, sys, time
    from datetime import timedelta
    from anthropic import Anthropic
    from convcache import Conversation, Keeper, Policy
    from convcache.core.rhythm import Rhythm
    from convcache.habits import Habits

    rhythm = Rhythm()
    for what in ("opener", "early", "settled", "tool_use"):
        for _ in range(400):
            rhythm = rhythm.after(what, timedelta(minutes=59))
    keeper = Keeper(habits=Habits(rhythm))
    client = Anthropic(base_url=sys.argv[1], api_key="x")
    chat = Conversation(client, model="claude-opus-5", max_tokens=500, system="The rules. " * 4000, keeper=keeper, policy=Policy(ttl="5m"))
    chat.send("hello")
    assert keeper._thread is not None
"""


def script(more: str) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(SERVER) + textwrap.dedent(more)]


def test_a_process_with_a_keeper_ends_at_once(server):
    began = time.monotonic()
    done = subprocess.run(
        [*script("print('done')"), server.url], check=False, capture_output=True, timeout=30, text=True
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "done", "")
    assert time.monotonic() - began < 20


def test_a_process_with_a_keeper_ends_at_sigterm(server):
    waiting = "print('ready', flush=True); time.sleep(60)"
    with subprocess.Popen([*script(waiting), server.url], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().strip() == "ready"
        process.send_signal(signal.SIGTERM)
        assert process.wait(2) == -signal.SIGTERM


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_after_a_fork_of_the_process_the_child_has_a_keeper_of_its_own(server):
    forking = """
        pid = os.fork()
        if pid == 0:
            assert keeper._thread is None
            chat.send("more")
            assert keeper._thread.is_alive()
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert keeper._thread.is_alive()
        print("both")
    """
    done = subprocess.run(
        [*script(forking), server.url], check=False, capture_output=True, timeout=30, text=True
    )
    assert (done.stdout.strip(), done.returncode) == ("both", 0), done.stderr


def test_what_was_gone_and_written_again_counts_against_the_hour(emulator, client, events):
    """The cap is on bills, not on forecasts: the first rewrite ends it for all."""
    budget = Budget(per_hour="0.10")
    keeper = Keeper(budget, habits=returning(timedelta(minutes=9)), clock=emulator.clock.now)
    keeper._thread = threading.current_thread()  # no other: its work is done here
    chats = [
        Conversation(
            client, model=MODEL, max_tokens=500, system=f"{n} {LONG}", policy=FIVE, keeper=keeper,
            clock=emulator.clock.now, on_event=events.append,
        )
        for n in range(5)
    ]  # fmt: skip
    for chat in chats:
        chat.send("hello")
    emulator.clock.advance(timedelta(minutes=4.8))
    emulator.evict()
    while (sleeper := keeper._next(emulator.clock.now())[0]) is not None:
        keeper._send(sleeper, keeper._spent[-1])

    assert len(keep_alives(emulator)) == 1
    assert keeper.spent > budget.per_hour
    keeper._thread = None


def test_idle_conversations_are_left_alone_after_a_while(emulator, client):
    keeper = Keeper(
        Budget(idle=timedelta(minutes=1)), habits=returning(timedelta(minutes=9)), clock=emulator.clock.now
    )
    keeper.pause()
    chat = Conversation(
        client, model=MODEL, max_tokens=500, system=LONG, policy=FIVE, keeper=keeper, clock=emulator.clock.now
    )
    chat.send("hello")
    assert chat.decision.due is None
    keeper.close()


TRYING = Caution(margin=timedelta(seconds=30))


def test_a_keeper_finds_out_whether_an_upgrade_holds(fast_client, clock, options, events):
    habits = returning(timedelta(minutes=50))
    with keeping(clock, events, habits=habits, caution=TRYING) as keeper:
        chats = [Conversation(fast_client, system=f"{n} {LONG}", keeper=keeper, **options) for n in range(3)]
        for chat in chats:
            chat.send("hello")

        assert eventually(lambda: habits.rhythm.proof(MODEL).holds, seconds=12)
        assert [event.action for event in events if isinstance(event, KeptWarm)].count("upgrade") == 1


def test_an_async_keeper_finds_out_whether_an_upgrade_holds(server, clock, options, events):
    habits = returning(timedelta(minutes=50))

    async def main() -> None:
        keeper = AsyncKeeper(
            habits=habits, caution=TRYING, clock=clock.now, pace=PACE, on_event=events.append
        )
        async with AsyncAnthropic(base_url=server.url, api_key="x", max_retries=0) as client, keeper:
            chats = [
                AsyncConversation(client, system=f"{n} {LONG}", keeper=keeper, **options) for n in range(3)
            ]
            for chat in chats:
                await chat.send("hello")
            await asyncio.to_thread(eventually, lambda: habits.rhythm.proof(MODEL).holds, seconds=12)

    asyncio.run(main())

    assert habits.rhythm.proof(MODEL).holds
    assert [event.action for event in events if isinstance(event, KeptWarm)].count("upgrade") == 1
