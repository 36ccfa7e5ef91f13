"""What goes wrong on the wire: the history stays whole, the books stay true, and the next turn hits the cache."""

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import anthropic
import anyio
import httpx2
import pytest
from anthropic import Anthropic, AsyncAnthropic

from convcache import (
    AsyncConversation,
    Conversation,
    ConversationEndedError,
    DanglingToolUseError,
    EmptyMessageError,
    TurnInProgressError,
)
from convcache.emulator import Emulator, EmulatorTransport, Fault
from tests.words import GUIDE, MODEL, call, reply, text

LOST = [
    pytest.param(Fault(status=500), anthropic.InternalServerError, id="500"),
    pytest.param(Fault(status=529), anthropic.APIStatusError, id="529"),
    pytest.param(Fault(status=429, retry_after=0.01), anthropic.RateLimitError, id="429"),
    pytest.param(Fault(cut_after=0), anthropic.APIConnectionError, id="connection cut before the response"),
    pytest.param(Fault(delay=timedelta(hours=2)), anthropic.APITimeoutError, id="timeout"),
]
"""Requests of which nothing came, with the SDK's own error."""

RETRIED = [Fault(status=529), Fault(status=429, retry_after=0.01), Fault(status=500)]


@pytest.fixture
def conversation(client: Anthropic, emulator: Emulator) -> Iterator[Conversation]:
    conversation = Conversation(client, model=MODEL, max_tokens=500, system=GUIDE, clock=emulator.clock.now)
    conversation.send("hello")
    yield conversation
    assert conversation.send("are you well?").content
    assert_the_old_anchor_was_hit(conversation)


@pytest.fixture
async def async_conversation(
    async_client: AsyncAnthropic, emulator: Emulator
) -> AsyncIterator[AsyncConversation]:
    conversation = AsyncConversation(
        async_client, model=MODEL, max_tokens=500, system=GUIDE, clock=emulator.clock.now
    )
    await conversation.send("hello")
    yield conversation
    assert (await conversation.send("are you well?")).content
    assert_the_old_anchor_was_hit(conversation)


def assert_the_old_anchor_was_hit(conversation: Conversation | AsyncConversation) -> None:
    first, last = conversation.turns[0], conversation.turns[-1]
    assert last.actual.read >= first.actual.cached
    assert last.actual.read == last.forecast.read


def in_the_middle(emulator: Emulator, fault: Fault) -> None:
    emulator.script(reply(text("a long answer " * 40)))
    emulator.fail(fault)


@pytest.mark.parametrize(("fault", "error"), LOST)
def test_a_request_that_fails_leaves_history_and_books_as_they_were(conversation, emulator, fault, error):
    before = conversation.messages, conversation.turns, conversation.usage
    emulator.fail(fault)
    with pytest.raises(error):
        conversation.send("are you there?", timeout=0.3)

    assert (conversation.messages, conversation.turns, conversation.usage) == before


@pytest.mark.parametrize(("fault", "error"), LOST)
def test_a_stream_that_never_starts_leaves_history_and_books_as_they_were(
    conversation, emulator, fault, error
):
    before = conversation.messages, conversation.turns, conversation.usage
    emulator.fail(fault)
    with pytest.raises(error), conversation.stream("are you there?", timeout=0.3) as stream:
        stream.until_done()

    assert (conversation.messages, conversation.turns, conversation.usage) == before


@pytest.mark.parametrize("fault", RETRIED, ids=lambda fault: str(fault.status))
def test_the_sdks_retries_are_one_turn(conversation, emulator, fault):
    emulator.fail(fault, fault)
    conversation._client = conversation._client.with_options(max_retries=2)
    conversation.send("are you there?")
    bodies = [request.body for request in emulator.requests[1:]]

    assert [request.status for request in emulator.requests[1:]] == [fault.status, fault.status, 200]
    assert bodies[0] == bodies[1] == bodies[2]
    assert len(conversation.turns) == 2


def test_a_connection_cut_in_the_middle_of_a_stream_is_booked_and_not_kept(conversation, emulator):
    history = conversation.messages
    in_the_middle(emulator, Fault(cut_after=4))
    with pytest.raises(httpx2.RemoteProtocolError), conversation.stream("tell me") as stream:
        stream.until_done()

    assert conversation.messages == history
    assert conversation.usage.read == conversation.turns[0].actual.cached


def test_a_stream_left_early_is_booked_and_not_kept(conversation, emulator):
    history = conversation.messages
    emulator.script(reply(text("a long answer " * 40)))
    with conversation.stream("tell me") as stream:
        for _ in stream.text_stream:
            break

    assert conversation.messages == history
    assert len(conversation.turns) == 1
    assert conversation.usage.read == conversation.turns[0].actual.cached


def test_a_turn_left_early_can_be_sent_again_and_hits_what_it_wrote(conversation, emulator):
    emulator.script(reply(text("a long answer " * 40)))
    question = "tell me " * 200
    with conversation.stream(question) as stream:
        next(stream)
    conversation.send(question)
    turn = conversation.turns[-1]

    assert turn.actual.written == 0
    assert turn.actual.read == turn.forecast.read > conversation.turns[0].actual.cached


def test_an_error_of_the_callers_own_inside_the_block_passes_unchanged(conversation):
    with pytest.raises(KeyError), conversation.stream("tell me") as stream:
        {}[next(stream).type]


def test_a_reply_read_to_its_end_is_kept_whatever_the_block_raises(conversation):
    with pytest.raises(KeyError), conversation.stream("tell me") as stream:
        {}[stream.get_final_text()]

    assert len(conversation.turns) == 2


def test_a_second_turn_while_one_runs_is_refused(conversation):
    with conversation.stream("tell me") as stream:
        next(stream)
        for refused in (
            lambda: conversation.send("x"),
            lambda: conversation.append("x"),
            lambda: conversation.update(max_tokens=5),
            conversation.rewind,
        ):
            with pytest.raises(TurnInProgressError, match="fork"):
                refused()


def test_a_fork_can_send_while_a_turn_runs(conversation):
    with conversation.stream("tell me") as stream:
        next(stream)
        fork = conversation.fork()
        fork.send("on the side")
        stream.until_done()

    assert len(fork.messages) == len(conversation.messages) == 4
    assert fork.turns[-1].actual.read >= conversation.turns[0].actual.cached


def test_a_reply_with_empty_text_does_not_brick_the_conversation(conversation, emulator):
    emulator.script(reply(text(""), text("Something."), text(" ")), reply(text("")))
    conversation.send("say something")
    conversation.send("and now nothing")

    assert conversation.messages[3]["content"] == [text("Something.")]
    assert conversation.messages[-1]["role"] == "user"


@pytest.mark.parametrize(
    ("content", "error"),
    [("", EmptyMessageError), ([], EmptyMessageError), (None, EmptyMessageError)],
)
def test_an_empty_turn_never_reaches_the_network(conversation, emulator, content, error):
    with pytest.raises(error):
        conversation.send(content)

    assert len(emulator.requests) == 1


def test_a_dangling_tool_call_never_reaches_the_network(client, emulator):
    conversation = Conversation(client, model=MODEL, max_tokens=50)
    emulator.script(reply(call("a")))
    conversation.send("look")
    with pytest.raises(DanglingToolUseError, match="tool_result"):
        conversation.send("and?")

    assert len(emulator.requests) == 1


def test_a_refusal_ends_the_conversation_until_it_is_rewound(client, emulator):
    conversation = Conversation(client, model=MODEL, max_tokens=50)
    emulator.script(reply(text("I will not."), stop_reason="refusal"))
    conversation.send("a bad question")
    with pytest.raises(ConversationEndedError, match=r"rewind\(1\)"):
        conversation.send("please")
    conversation.rewind()

    assert conversation.send("a good question").stop_reason == "end_turn"


class _RefusesBreakpoints:
    """A server that takes no breakpoints: the emulator behind a proxy that knows better."""

    def __init__(self, emulator: Emulator) -> None:
        self.inner = EmulatorTransport(emulator)
        self.seen: list[bytes] = []

    def client(self) -> Anthropic:
        def handle(request: httpx2.Request) -> httpx2.Response:
            self.seen.append(request.content)
            if b"cache_control" in request.content:
                message = "system.0.cache_control: Extra inputs are not permitted"
                error = {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
                return httpx2.Response(400, json=error)
            return self.inner.handle_request(request)

        http_client = httpx2.Client(transport=httpx2.MockTransport(handle))
        return Anthropic(base_url="http://proxy", api_key="x", http_client=http_client, max_retries=0)


def test_breakpoints_that_a_server_refuses_are_given_up_and_told_once(emulator, caplog):
    proxy = _RefusesBreakpoints(emulator)
    conversation = Conversation(proxy.client(), model=MODEL, max_tokens=50, system=GUIDE)
    conversation.send("hello")
    with conversation.stream("more") as stream:
        stream.until_done()

    assert [b"cache_control" in body for body in proxy.seen] == [True, False, False]
    assert len(conversation.turns) == 2
    assert conversation.turns[0].forecast is None
    assert [record.message.split()[0] for record in caplog.records] == ["breakpoints_refused"]


def test_a_400_of_the_callers_own_passes_unchanged(conversation, emulator):
    with pytest.raises(anthropic.BadRequestError, match="max_tokens"):
        conversation.send("hello", max_tokens=-1)

    assert len(emulator.requests) == 2


def test_trouble_in_planning_never_fails_a_turn(client, emulator, monkeypatch, caplog):
    def explode(*_: Any, **__: Any) -> None:
        raise RuntimeError("the words of a user")

    conversation = Conversation(client, model=MODEL, max_tokens=50, system=GUIDE)
    monkeypatch.setattr("convcache.books.Prompt.of", explode)
    conversation.send("hello")

    assert conversation.turns[0].forecast is None
    assert "cache_control" not in str(emulator.requests[0].body)
    assert "planning_failed" in caplog.text
    assert "the words of a user" not in caplog.text


def test_trouble_in_the_books_never_loses_a_paid_reply(client, monkeypatch, caplog):
    def explode(*_: Any, **__: Any) -> None:
        raise RuntimeError

    conversation = Conversation(client, model=MODEL, max_tokens=50, system=GUIDE)
    with monkeypatch.context() as patch:
        patch.setattr("convcache.books.Ledger.settle", explode)
        assert conversation.send("hello").content
    conversation.send("more")

    assert len(conversation.messages) == 4
    assert len(conversation.turns) == 1
    assert "booking_failed" in caplog.text


@pytest.mark.parametrize(("fault", "error"), LOST)
async def test_async_a_request_that_fails_leaves_history_and_books_as_they_were(
    async_conversation, emulator, fault, error
):
    conversation = async_conversation
    before = conversation.messages, conversation.turns, conversation.usage
    emulator.fail(fault, fault)
    with pytest.raises(error):
        await conversation.send("are you there?", timeout=0.3)
    with pytest.raises(error):
        async with conversation.stream("are you there?", timeout=0.3) as stream:
            await stream.until_done()

    assert (conversation.messages, conversation.turns, conversation.usage) == before


async def test_async_a_connection_cut_in_the_middle_of_a_stream_is_booked_and_not_kept(
    async_conversation, emulator
):
    history = async_conversation.messages
    in_the_middle(emulator, Fault(cut_after=4))
    with pytest.raises(httpx2.RemoteProtocolError):
        async with async_conversation.stream("tell me") as stream:
            await stream.until_done()

    assert async_conversation.messages == history
    assert async_conversation.usage.read == async_conversation.turns[0].actual.cached


async def test_async_a_stream_left_early_is_booked_and_not_kept(async_conversation, emulator):
    history = async_conversation.messages
    emulator.script(reply(text("a long answer " * 40)))
    async with async_conversation.stream("tell me") as stream:
        async for _ in stream.text_stream:
            break

    assert async_conversation.messages == history
    assert async_conversation.usage.read == async_conversation.turns[0].actual.cached


async def test_async_a_cancelled_turn_leaves_the_history_as_it_was(async_conversation, emulator):
    history = async_conversation.messages
    emulator.fail(Fault(delay=timedelta(hours=2)))
    with anyio.move_on_after(0.2) as scope:
        await async_conversation.send("are you there?")

    assert scope.cancelled_caught
    assert async_conversation.messages == history


@pytest.mark.parametrize("fault", RETRIED, ids=lambda fault: str(fault.status))
async def test_async_the_sdks_retries_are_one_turn(async_conversation, emulator, fault):
    emulator.fail(fault)
    async_conversation._client = async_conversation._client.with_options(max_retries=1)
    await async_conversation.send("are you there?")

    assert len(async_conversation.turns) == 2
