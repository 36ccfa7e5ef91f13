"""The middleware around plain loops, on the wire: placed on every route, booked, and out of everybody's way."""

import gc
import re
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from copy import deepcopy
from datetime import timedelta
from typing import Any

import anthropic
import anyio
import attrs
import httpx2
import pytest
from anthropic import Anthropic, AsyncAnthropic, beta_async_tool, beta_tool

import convcache
from convcache import CacheMiddleware, Conversation, InvalidationRefusedError, Miss, Policy
from convcache.core.events import BreakpointsRefused, CacheInvalidated, Event, ModelUnknown, TurnSettled
from convcache.core.planner import Landmarks
from convcache.emulator import Emulator, EmulatorServer, Fault, Settings, VirtualClock
from convcache.emulator.tokens import estimated_tokens
from tests.conftest import START
from tests.words import GUIDE, MODEL, TOOL, call, marked_paths, reply, result, text, thinking

HEAD: dict[str, Any] = {"model": MODEL, "max_tokens": 300, "system": GUIDE}


class Watched:
    """A client with a middleware, and all that the middleware told."""

    def __init__(self, url: str, emulator: Emulator, policy: Policy = Policy(), **options: Any) -> None:  # noqa: B008 - a value
        self.events: list[Event] = []
        self.middleware = CacheMiddleware(
            policy, clock=emulator.clock.now, on_event=self.events.append, **options
        )
        self.emulator = emulator
        self.url = url
        self.client = Anthropic(base_url=url, api_key="made-up", max_retries=0, middleware=[self.middleware])

    @property
    def turns(self) -> list[convcache.Turn]:
        return [event.turn for event in self.events if isinstance(event, TurnSettled)]

    def told(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def watched(url: str, emulator: Emulator) -> Iterator[Watched]:
    watched = Watched(url, emulator)
    with watched.client:
        yield watched


@pytest.fixture
async def watched_async(url: str, emulator: Emulator) -> AsyncIterator[Watched]:
    watched = Watched(url, emulator, count=estimated_tokens)
    client = AsyncAnthropic(base_url=url, api_key="made-up", max_retries=0, middleware=[watched.middleware])
    async with client:
        watched.client = client
        yield watched


def user(words: str) -> dict:
    return {"role": "user", "content": words}


def assert_each_reads_what_was_left(emulator: Emulator) -> None:
    usages = [request.usage for request in emulator.requests]
    left = [usage.read + usage.written for usage in usages]
    assert usages[0].written > 5_000
    assert [usage.read for usage in usages[1:]] == left[:-1]


def create(client: Anthropic, **body: Any) -> str:
    return client.messages.create(**body).content[0].text


def beta_create(client: Anthropic, **body: Any) -> str:
    return client.beta.messages.create(**body, betas=["some-beta-2026-01-01"]).content[0].text


def stream(client: Anthropic, **body: Any) -> str:
    with client.messages.stream(**body) as stream:
        return "".join(stream.text_stream)


def beta_stream(client: Anthropic, **body: Any) -> str:
    with client.beta.messages.stream(**body) as stream:
        return stream.get_final_text()


def raw_events(client: Anthropic, **body: Any) -> str:
    events = client.messages.create(**body, stream=True)
    return "".join(
        event.delta.text
        for event in events
        if event.type == "content_block_delta" and event.delta.type == "text_delta"
    )


def next_events(client: Anthropic, **body: Any) -> str:
    events, pieces = client.messages.create(**body, stream=True), []
    while (event := next(events, None)) is not None:
        if event.type == "content_block_delta" and event.delta.type == "text_delta":
            pieces.append(event.delta.text)
    return "".join(pieces)


def raw_response(client: Anthropic, **body: Any) -> str:
    return client.messages.with_raw_response.create(**body).parse().content[0].text


def parsed(client: Anthropic, **body: Any) -> str:
    return client.messages.parse(**body).content[0].text


ROUTES = [create, beta_create, stream, beta_stream, raw_events, next_events, raw_response, parsed]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.__name__)
def test_every_route_is_placed_and_booked(watched, emulator, route):
    messages = [user("hello")]
    for n in range(3):
        answer = route(watched.client, **HEAD, messages=messages)
        messages += [{"role": "assistant", "content": answer}, user(f"more {n}")]

    assert_each_reads_what_was_left(emulator)
    assert [turn.actual.read for turn in watched.turns] == [
        request.usage.read for request in emulator.requests
    ]
    assert [turn.forecast.read for turn in watched.turns] == [turn.actual.read for turn in watched.turns]
    assert watched.middleware.usage.prompt == sum(request.usage.prompt for request in emulator.requests)
    assert watched.middleware.usage.output == sum(request.usage.output for request in emulator.requests)


async def test_async_create_and_stream_are_placed_and_booked(watched_async, emulator):
    messages = [user("hello")]
    for n in range(4):
        if n % 2:
            async with watched_async.client.messages.stream(**HEAD, messages=messages) as stream:
                answer = await stream.get_final_text()
        else:
            answer = (await watched_async.client.messages.create(**HEAD, messages=messages)).content[0].text
        messages += [{"role": "assistant", "content": answer}, user(f"more {n}")]

    assert_each_reads_what_was_left(emulator)
    assert [turn.forecast.read for turn in watched_async.turns] == [
        request.usage.read for request in emulator.requests
    ]


def test_the_sdks_tool_runner_is_placed_at_every_step(watched, emulator):
    @beta_tool
    def look_up(word: str) -> str:
        """Looks a word up."""
        return f"{word} " * 300

    emulator.script(
        *(reply(thinking("hm"), call(f"c{n}", word="x"), call(f"d{n}", word="y")) for n in range(6))
    )
    emulator.script(reply(text("done")))
    runner = watched.client.beta.messages.tool_runner(
        **HEAD, tools=[look_up], messages=[user("look")], thread=False, thinking={"type": "adaptive"}
    )
    assert runner.until_done().content[0].text == "done"

    assert len(emulator.requests) == 7
    assert_each_reads_what_was_left(emulator)
    assert len(watched.turns) == 7


async def test_the_sdks_async_streaming_tool_runner_is_placed_at_every_step(watched_async, emulator):
    @beta_async_tool
    async def look_up(word: str) -> str:
        """Looks a word up."""
        return f"{word} " * 300

    emulator.script(*(reply(call(f"c{n}", word="x")) for n in range(4)), reply(text("done")))
    runner = watched_async.client.beta.messages.tool_runner(
        **HEAD, tools=[look_up], messages=[user("look")], thread=False, stream=True
    )
    async for stream in runner:
        await stream.get_final_message()

    assert len(emulator.requests) == 5
    assert_each_reads_what_was_left(emulator)
    assert len(watched_async.turns) == 5


def test_a_thread_is_cached_turn_by_turn(watched, emulator):
    @beta_tool
    def look_up(word: str) -> str:
        """Looks a word up."""
        return f"{word} " * 300

    emulator.script(*(reply(call(f"c{n}", word="x")) for n in range(4)), reply(text("done")))
    runner = watched.client.beta.messages.tool_runner(**HEAD, tools=[look_up], messages=[user("look")])
    runner.until_done()
    threads = [request.body["thread"]["type"] for request in emulator.requests]

    assert threads == ["create", *["continue"] * 4]
    assert_each_reads_what_was_left(emulator)
    assert len(watched.turns) == 5


def test_a_thread_that_takes_no_breakpoints_goes_on_without():
    emulator = Emulator(Settings(thread_unsupported=("cache_control",)), clock=VirtualClock(START))
    with EmulatorServer(emulator) as server:
        watched = Watched(server.url, emulator)
        thread = watched.client.beta.messages.thread(**HEAD)
        for words in ("hello", "more"):
            assert thread.send(user(words)).content
        watched.client.messages.create(**HEAD, messages=[user("hello")])

    assert [request.status for request in emulator.requests] == [400, 200, 200, 200]
    assert len(watched.told(BreakpointsRefused)) == 1
    assert "cache_control" in str(emulator.requests[-1].body)


def test_breakpoints_of_the_callers_own_in_a_thread_are_left_alone(watched, emulator):
    thread = watched.client.beta.messages.thread(**HEAD)
    for words in ("hello", "more"):
        thread.send({"role": "user", "content": [{**text(words), **HOUR}, text("and")]})

    assert marked_paths(emulator.requests[1].body) == ["messages.0.0"]


def test_retries_of_the_sdk_are_planned_alike_and_booked_once(url, emulator):
    watched = Watched(url, emulator)
    client = watched.client.with_options(max_retries=2)
    emulator.fail(Fault(status=529), Fault(status=429, retry_after=0.01))
    client.messages.create(**HEAD, messages=[user("hello")])
    bodies = [request.body for request in emulator.requests]

    assert bodies[0] == bodies[1] == bodies[2]
    assert len(watched.turns) == 1


def test_the_callers_objects_are_not_touched(watched):
    messages = [{"role": "user", "content": [text("hello")]}]
    before = deepcopy(messages)
    watched.client.messages.create(**HEAD, messages=messages)

    assert messages == before


def test_counting_tokens_is_left_alone(watched, emulator):
    watched.client.messages.count_tokens(model=MODEL, system=GUIDE, messages=[user("hello")])

    assert "cache_control" not in str(emulator.requests[0].body)


def test_a_conversation_on_the_same_client_is_left_alone(watched, emulator):
    conversation = Conversation(watched.client, model=MODEL, max_tokens=50, system=GUIDE)
    conversation.send("hello")
    with conversation.stream("more") as stream:
        stream.until_done()

    assert watched.events == []
    assert_each_reads_what_was_left(emulator)


def test_a_retry_on_credit_is_left_alone(watched, emulator):
    body = {"fallback_credit_token": "tok"}
    watched.client.beta.messages.create(**HEAD, messages=[user("hello")], extra_body=body)

    assert "cache_control" not in str(emulator.requests[0].body)


def test_convcache_off_turns_everything_off(watched, emulator, monkeypatch):
    monkeypatch.setenv("CONVCACHE", "off")
    watched.client.messages.create(**HEAD, messages=[user("hello")])

    assert "cache_control" not in str(emulator.requests[0].body)
    assert emulator.requests[0].body["messages"] == [user("hello")]


OWN = {"cache_control": {"type": "ephemeral"}}
HOUR = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
LONG = {"type": "text", "text": GUIDE}
REFUSED = {
    "five breakpoints": {
        "system": [{**LONG, **OWN}],
        "messages": [{"role": "user", "content": [{**text(f"part {n}"), **OWN} for n in range(4)]}],
    },
    "an hour after five minutes": {
        "system": [{**LONG, **OWN}],
        "messages": [{"role": "user", "content": [{**text("hello"), **HOUR}]}],
    },
    "on thinking": {
        "system": GUIDE,
        "thinking": {"type": "adaptive"},
        "tools": [TOOL],
        "messages": [
            user("look"),
            {"role": "assistant", "content": [{**thinking("hm"), **OWN}, call("a")]},
            {"role": "user", "content": [result("a")]},
        ],
    },
    "four and the top-level one": {
        "system": [{**LONG, **OWN}],
        "messages": [{"role": "user", "content": [{**text(f"part {n}"), **OWN} for n in range(3)]}],
        "extra_body": OWN,
    },
    "a top-level one that does not match": {
        "system": GUIDE,
        "messages": [{"role": "user", "content": [{**text("hello"), **OWN}]}],
        "extra_body": HOUR,
    },
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_request_the_api_refuses_for_its_breakpoints_is_accepted_and_cached(
    watched, client, emulator, case
):
    body = {**HEAD, **REFUSED[case]}
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(**body)
    watched.client.messages.create(**body)
    watched.client.messages.create(**body)

    assert [request.status for request in emulator.requests] == [400, 200, 200]
    assert emulator.requests[1].usage.written > 5_000
    assert emulator.requests[2].usage.read == emulator.requests[1].usage.written


def test_strings_become_blocks_once_and_stay_so():
    emulator = Emulator(Settings(strict_strings=True), clock=VirtualClock(START))
    with EmulatorServer(emulator) as server:
        watched = Watched(server.url, emulator)
        messages = [user("hello")]
        for n in range(4):
            watched.client.messages.create(**HEAD, messages=messages)
            messages += [{"role": "assistant", "content": f"answer {n}"}, user(f"more {n}")]

    assert_each_reads_what_was_left(emulator)


def test_breakpoints_of_the_callers_own_can_be_replaced(url, emulator):
    watched = Watched(url, emulator, Policy(own="replace"))
    parts = [{**text("part " * 700), **HOUR}, text("and a question")]
    watched.client.messages.create(**HEAD, messages=[{"role": "user", "content": parts}])

    assert marked_paths(emulator.requests[0].body) == ["system.0", "messages.0.1"]
    assert emulator.requests[0].usage.written_1h == 0


def test_a_prewarming_request_marks_what_others_share_and_not_its_placeholder(watched, emulator):
    watched.client.messages.create(**{**HEAD, "max_tokens": 0}, messages=[user("x")])
    watched.client.messages.create(**HEAD, messages=[user("a real question")])

    assert marked_paths(emulator.requests[0].body) == ["system.0"]
    assert emulator.requests[1].usage.read == emulator.requests[0].usage.written > 5_000


def test_a_server_that_refuses_our_breakpoints_is_asked_once_more_and_remembered(
    watched, emulator, monkeypatch
):
    unheard = {"cache_control": {"type": "unheard of"}}
    monkeypatch.setattr("convcache.core.planner.marked", lambda block, _: {**block, **unheard})
    for route in (create, stream, create):
        assert route(watched.client, **HEAD, messages=[user("hello")])

    assert [request.status for request in emulator.requests] == [400, 200, 200, 200]
    assert len(watched.told(BreakpointsRefused)) == 1


def test_a_400_that_has_another_cause_is_not_held_against_our_breakpoints(watched, emulator):
    broken = {**text("cache_control"), "unheard_of": 1}
    for messages in ([{"role": "user", "content": [broken]}], [user("hello")]):
        with suppress(anthropic.BadRequestError):
            watched.client.messages.create(
                **HEAD, messages=messages, extra_body={"tools": [{"cache_control": 3}]}
            )
        watched.client.messages.create(**HEAD, messages=[user("hello")])

    assert watched.told(BreakpointsRefused) == []
    assert "cache_control" in str(emulator.requests[-1].body)


def test_an_unknown_model_is_placed_for_five_minutes_and_told_once(url):
    emulator = Emulator(clock=VirtualClock(START))
    watched = Watched(url, emulator, Policy(ttl="1h"))
    books = watched.middleware._books
    request = {"model": "team-profile", "system": GUIDE, "messages": [user("hi")], "max_tokens": 5}
    for _ in range(2):
        plan, _ = books.placed(
            request, books.prompt(request), books.opened(), at=START, landmarks=Landmarks()
        )

    assert {point.ttl for point in plan.breakpoints} == {"5m"}
    assert plan.cost is None
    assert watched.told(ModelUnknown) == [ModelUnknown("team-profile")]


CHANGES = {
    "model": {"model": "claude-opus-4-8"},
    "tools": {"tools": [TOOL]},
    "system": {"system": GUIDE + "One more rule."},
    "thinking": {"thinking": {"type": "adaptive"}},
    "effort": {"output_config": {"effort": "low"}},
    "tool_choice": {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
    "speed": {"speed": "fast"},
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_that_throws_a_warm_cache_away_is_priced_before_it_is_sent(watched, emulator, name):
    messages = [user("hello"), {"role": "assistant", "content": "hi"}, user("more " * 3_000)]
    for n in range(2):
        watched.client.messages.create(**HEAD, messages=messages)
        messages += [{"role": "assistant", "content": "well"}, user(f"and more {n}")]
    watched.client.messages.create(**{**HEAD, **CHANGES[name]}, messages=messages)
    (event,) = watched.told(CacheInvalidated)
    _, first, second = watched.turns

    assert name in event.invalidation.changed
    assert abs(event.invalidation.tokens - (first.actual.cached - second.actual.read)) < 20
    assert event.invalidation.cost > 0
    assert second.miss in {
        Miss.MODEL_CHANGED,
        Miss.TOOLS_CHANGED,
        Miss.SYSTEM_CHANGED,
        Miss.SETTINGS_CHANGED,
    }


def test_such_a_change_can_be_refused_before_the_network(url, emulator):
    watched = Watched(url, emulator, Policy(on_invalidation="refuse"))
    with convcache.conversation("user-42"):
        watched.client.messages.create(**HEAD, messages=[user("hello")])
        with pytest.raises(InvalidationRefusedError, match=r"change of model would lose 5,\d+ cached tokens"):
            watched.client.messages.create(**{**HEAD, "model": "claude-opus-4-8"}, messages=[user("hello")])
        emulator.clock.advance(timedelta(minutes=6))
        watched.client.messages.create(**{**HEAD, "model": "claude-opus-4-8"}, messages=[user("hello")])

    assert len(emulator.requests) == 2


def test_other_users_who_open_alike_are_never_refused(url, emulator):
    watched = Watched(url, emulator, Policy(on_invalidation="refuse"))
    shots = [user("Q"), {"role": "assistant", "content": "A"}, user("hi")]
    for name in ("Ada", "Bob", "Cyd"):
        watched.client.messages.create(**{**HEAD, "system": f"{GUIDE} You talk to {name}."}, messages=shots)

    assert watched.told(CacheInvalidated) == []
    assert [turn.miss for turn in watched.turns] == [None, None, None]


def test_observing_never_refuses(url, emulator):
    watched = Watched(url, emulator, Policy.observe(on_invalidation="refuse"))
    marked = {**HEAD, "system": [{**LONG, **OWN}]}
    with convcache.conversation("user-42"):
        for model in (MODEL, "claude-opus-4-8"):
            watched.client.messages.create(**{**marked, "model": model}, messages=[user("hello")])

    assert len(watched.told(CacheInvalidated)) == 1


def test_a_small_loss_is_silent(url, emulator):
    watched = Watched(url, emulator, Policy(min_invalidation="1.00"))
    with convcache.conversation("user-42"):
        watched.client.messages.create(**HEAD, messages=[user("hello")])
        watched.client.messages.create(**{**HEAD, "model": "claude-opus-4-8"}, messages=[user("hello")])

    assert watched.told(CacheInvalidated) == []


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.__name__)
def test_observing_changes_no_byte_and_books_all_the_same(client, url, emulator, route):
    watched = Watched(url, emulator, Policy.observe())
    body = {**HEAD, "system": [{**LONG, **OWN}], "messages": [user("hello")]}
    route(client, **body)
    route(watched.client, **body)
    bare, observed = (request._body.data for request in emulator.requests)

    assert observed == bare
    (turn,) = watched.turns
    assert turn.actual.read == emulator.requests[1].usage.read
    assert turn.forecast is not None


def test_eight_conversations_in_eight_threads_are_not_mixed_up(url, emulator):
    watched = Watched(url, emulator, count=estimated_tokens)

    def chat(name: int) -> None:
        head = {**HEAD, "system": f"You are number {name}. " * 500}
        messages = [user("hello")]
        for n in range(6):
            answer = (create, stream)[n % 2](watched.client, **head, messages=messages)
            messages += [{"role": "assistant", "content": answer}, user(f"more {n}")]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(chat, range(8)))

    assert len(watched.turns) == 48
    assert all(turn.forecast == attrs.evolve(turn.actual, output=0) for turn in watched.turns)
    assert sum(turn.actual.read == 0 for turn in watched.turns) == 8


async def test_two_hundred_conversations_in_one_loop_are_not_mixed_up(watched_async, emulator):
    limit = anyio.CapacityLimiter(40)

    async def chat(name: int) -> None:
        head = {**HEAD, "system": f"You are number {name}. " * 200}
        messages = [user("hello")]
        for n in range(3):
            async with limit:
                answer = await watched_async.client.messages.create(**head, messages=messages)
            messages += [{"role": "assistant", "content": answer.content[0].text}, user(f"more {n}")]

    async with anyio.create_task_group() as group:
        for name in range(200):
            group.start_soon(chat, name)

    assert len(watched_async.turns) == 600
    assert all(turn.forecast == attrs.evolve(turn.actual, output=0) for turn in watched_async.turns)
    assert sum(turn.actual.read == 0 for turn in watched_async.turns) == 200


def test_two_chats_that_open_alike_part_where_they_part(watched, emulator):
    chats = [[user("hello")], [user("hello")]]
    for n in range(3):
        for name, messages in enumerate(chats):
            watched.client.messages.create(**HEAD, messages=messages)
            messages += [{"role": "assistant", "content": f"chat {name}"}, user(f"turn {n}")]

    assert all(turn.forecast.read == turn.actual.read for turn in watched.turns)
    assert [turn.actual.read > 0 for turn in watched.turns] == [False, True, True, True, True, True]


def test_no_body_is_kept_once_its_reply_is_read(watched):
    for n in range(5):
        with watched.client.messages.stream(**HEAD, messages=[user(f"hello {n} " * 10_000)]) as stream:
            stream.until_done()
    del stream
    watched.events.clear()
    gc.collect()
    kept = [thing for thing in gc.get_objects() if type(thing).__name__ == "_Attempt"]

    assert kept == []


def test_a_kept_alive_conversation_stays_alive(watched, emulator):
    messages = [user("hello " * 3_000)]
    for seconds, options in ((0, {}), (250, {"max_tokens": 0}), (250, {})):
        emulator.clock.advance(timedelta(seconds=seconds))
        watched.client.messages.create(**{**HEAD, **options}, messages=messages)
    first, ping, last = [request.usage for request in emulator.requests]

    assert ping.read == last.read == first.written > 8_000


def test_servers_and_workspaces_behind_one_client_are_kept_apart(watched, emulator):
    other = Emulator(clock=emulator.clock)
    with EmulatorServer(other) as server:
        clients = [
            watched.client,
            watched.client.with_options(base_url=server.url),
            watched.client.with_options(default_headers={"anthropic-workspace-id": "wrkspc_other"}),
        ]
        for n, client in enumerate(clients):
            messages = [user(f"hello {n}")]
            for turn in range(3):
                client.messages.create(**HEAD, messages=messages)
                messages += [{"role": "assistant", "content": "hi"}, user(f"more {turn}")]

    # The first request to a place may be forecast by what holds elsewhere; after it, the place is known.
    assert [turn.actual.read == turn.forecast.read for turn in watched.turns] == [
        *(True, True, True),
        *(False, True, True),
        *(False, True, True),
    ]


def test_what_is_no_message_is_the_callers_to_deal_with():
    def odd(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, text="<html>", headers={"content-type": "text/html"})

    replies = []
    for placing in ([], [CacheMiddleware()]):
        http_client = httpx2.Client(transport=httpx2.MockTransport(odd))
        client = Anthropic(base_url="http://odd", api_key="x", http_client=http_client, middleware=placing)
        replies.append(client.messages.create(**HEAD, messages=[user("hello")]))

    assert replies[0] == replies[1]


@pytest.mark.parametrize("colour", [Anthropic, AsyncAnthropic])
async def test_an_answer_of_an_inner_middleware_is_passed_on(colour):
    class Remembered(anthropic.Middleware):
        def handle(self, request: Any, call_next: Any) -> Any:
            return "as before"

        async def handle_async(self, request: Any, call_next: Any) -> Any:
            return "as before"

    events: list[Event] = []
    placing = CacheMiddleware(on_event=events.append)
    client = colour(api_key="x", base_url="http://nowhere", middleware=[placing, Remembered()])
    answer = client.messages.create(**HEAD, messages=[user("hello")])

    assert (answer if colour is Anthropic else await answer) == "as before"
    assert events == []


def test_a_clock_that_fails_fails_no_request(client):
    def broken() -> Any:
        raise OSError

    placed = client.with_options(middleware=[CacheMiddleware(clock=broken, on_event=lambda _: None)])

    assert placed.messages.create(**HEAD, messages=[user("hello")]).content


def test_malformed_content_is_as_wrong_as_it_was(watched):
    with pytest.raises(anthropic.BadRequestError):
        watched.client.messages.create(**HEAD, messages=[{"role": "user", "content": text("hello")}])


def test_a_cited_answer_stays_cached(watched, emulator):
    citation = {
        "type": "char_location",
        "cited_text": "sky",
        "document_index": 0,
        "document_title": None,
        "start_char_index": 0,
        "end_char_index": 3,
    }
    source = {"type": "text", "media_type": "text/plain", "data": "The sky is blue. " * 400}
    document = {"type": "document", "source": source, "citations": {"enabled": True}}
    emulator.script(reply({**text("It is blue."), "citations": [citation]}), reply(text("Yes.")))
    messages = [{"role": "user", "content": [document, text("Which colour?")]}]
    for _ in range(3):
        answer = watched.client.messages.create(**HEAD, messages=messages)
        messages += [{"role": "assistant", "content": answer.content}, user("Sure?")]

    assert_each_reads_what_was_left(emulator)
    assert all(turn.forecast.read == turn.actual.read for turn in watched.turns)


async def test_observing_changes_no_byte_of_tool_loops_threads_and_async_streams(url, emulator):
    @beta_async_tool
    async def look_up(word: str) -> str:
        """Looks a word up."""
        return f"{word} " * 30

    policy = Policy.observe()
    placings: list[list[Any]] = [[], [CacheMiddleware(policy, clock=emulator.clock.now)]]
    sent = []
    for placing in placings:
        emulator.reset()
        async with AsyncAnthropic(base_url=url, api_key="made-up", middleware=placing) as client:
            for thread in ({"thread": False}, {}):
                emulator.script(reply(call("a", word="x")), reply(text("done")))
                runner = client.beta.messages.tool_runner(
                    **HEAD, tools=[look_up], messages=[user("look")], **thread
                )
                await runner.until_done()
            async with client.messages.stream(**HEAD, messages=[user("hello")]) as stream:
                await stream.until_done()
            raw = client.messages.with_streaming_response.create(**HEAD, messages=[user("hello")])
            async with raw as response:
                await response.read()
        bodies = [request._body.data for request in emulator.requests]
        sent.append([re.sub(rb"msg_\w+", b"msg", body) for body in bodies])

    assert len(sent[0]) == 6
    assert sent[0] == sent[1]


def test_a_stream_that_is_left_early_is_booked(watched, emulator):
    emulator.script(reply(text("a long answer " * 50)))
    with watched.client.messages.stream(**HEAD, messages=[user("hello")]) as stream:
        next(iter(stream))
    watched.client.messages.create(**HEAD, messages=[user("hello")])

    assert watched.turns[-1].forecast.read == watched.turns[-1].actual.read > 5_000
